"""The smallest permission that a namespace needs: one line for ACL SETUSER, or for a file of users."""

from __future__ import annotations

from collections.abc import Sequence

from ..client import keyspace_events
from ..schema.keys import Keys
from ..schema.ownership import StoreKind
from .permissions import allowed
from .strategy import Strategy, fitting

PASSWORD = "CHOOSE-A-PASSWORD"


def rule(keys: Keys, strategies: Sequence[type[Strategy]], store: StoreKind = "scripted", database: int = 0) -> str:
    """The user of everything that runs on the namespace, with ``store``: engines, producers and the command line.

    They share one, since all of them write the same keys by the same commands. Several ``strategies`` are for a
    namespace that is to be migrated. Needs Redis 6.2, or Valkey.
    """
    commands = {command for strategy in strategies for command in allowed(strategy, fitting(strategy, store).store)}
    if database:
        commands.add("SELECT")
    families = sorted({strategy.needs.events for strategy in strategies} - {""})
    channels = [f"&{keyspace_events.channel(database, keys.of(family, ''))}*" for family in families]
    rules = [f"+{command.lower()}" for command in sorted(commands)]
    user = ["user", f"dueq-{keys.namespace}", "on", f">{PASSWORD}"]
    return " ".join([*user, "resetkeys", f"~{keys.prefix}*", "resetchannels", *channels, "-@all", *rules])
