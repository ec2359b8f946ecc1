"""Waiting until replicas have the tasks that were written, so that a failover does not lose them."""

from __future__ import annotations

from typing import Any

import redis

from ..errors import NotReplicated
from ..schema.keys import Keys


def primary(client: redis.Redis) -> str:
    """The run id of the server that answers. Call it before the writes that are to be confirmed."""
    info: Any = client.info()
    return str(info["run_id"])


def confirm(client: redis.Redis, keys: Keys, replicas: int, within: float, written_to: str) -> None:
    """Return once ``replicas`` replicas have all that was written to the primary before. Needs Redis 3.0 (WAIT).

    Raises NotReplicated if they do not confirm ``within`` that many seconds, or if another primary answers than the one
    that was ``written_to``: it may not have what was written. Raises redis-py's errors, too.
    """
    pipe: Any = client.pipeline(transaction=False)
    # WAIT is about the writes of its own connection, and ours may have gone over others of the pool. There is one
    # stream of writes to a replica, so a replica that has this one has all before it.
    pipe.incrby(keys.plain("token"), 0)
    pipe.wait(replicas, max(1, round(within * 1000)))
    pipe.info()
    _, confirmed, info = pipe.execute()
    if str(info["run_id"]) != written_to:
        raise NotReplicated(
            "there was a failover meanwhile: whether the tasks are scheduled is not known; scheduling them again under "
            "the same ids is safe"
        )
    if confirmed < replicas:
        raise NotReplicated(
            f"{confirmed} of {replicas} replicas confirmed within {within:g} s: the tasks are scheduled, but a "
            f"failover now might lose them; scheduling them again under the same ids asks again"
        )
