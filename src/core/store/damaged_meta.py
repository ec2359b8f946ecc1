"""Fields of ``meta`` with values that no dueq writes: they go into quarantine, and the namespace is claimed anew.

Values that another dueq may have written stay: the name of another strategy, a newer format, features unknown here.
Then the namespace is refused as usual.
"""

from __future__ import annotations

import logging

import redis

from ..client.protocol import Command
from ..client.safe_text import harmless
from ..client.transactions import Session, Transactions
from ..clock import HostClock
from ..schema import ownership
from ..schema.keys import Keys
from ..schema.quarantine import quarantine

log = logging.getLogger("dueq.namespace")


def put_damage_apart(client: redis.Redis, keys: Keys) -> list[str]:
    """Put such fields into quarantine, in one step; returns their names."""
    meta, now_us = keys.plain("meta"), HostClock().now_us()

    def attempt(session: Session) -> list[str]:
        session.watch(meta)
        [values] = session.read([("HMGET", meta, *ownership.FIELDS)])
        found = ownership.named(values)
        damaged, commands = ownership.damaged(found), list[Command]()
        for name in damaged:
            commands += [("HDEL", meta, name), *quarantine(keys, "field", "meta", name, found[name] or b"", now_us)]
        session.commit(commands)
        return damaged

    names = Transactions(client).run(attempt)
    for name in names:
        log.error(
            "field %s of meta of namespace %s held a value that no dueq writes: it is in quarantine now, see dueq "
            "quarantine",
            harmless(name),
            keys.namespace,
        )
    return names
