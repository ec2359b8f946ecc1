"""Can this server carry this strategy, and with which store? Checked before anything starts, and shown by
``dueq doctor``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from ..client import keyspace_events
from ..client.connection import server_version
from ..errors import StrategyUnavailable
from ..schema.keys import Keys
from ..schema.ownership import StoreKind
from .permissions import needed, refused
from .server_scripts import script_refusal, store_for
from .strategy import Strategy


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that a strategy needs and a server lacks: what it is, and what to change."""

    lacking: str
    remedy: str


def obstacles(
    client: redis.Redis, strategy: type[Strategy], keys: Keys, store: StoreKind | None = None
) -> list[Obstacle]:
    """Why the server cannot run ``strategy`` on the namespace of ``keys``; empty if it can. Changes nothing.

    ``store`` is the one that the namespace uses; None: the one that the server allows.
    """
    store = store or store_for(client, strategy, None)
    needs = strategy.needs
    found = []
    version = server_version(client)
    if version is not None and version < needs.version:
        wanted = ".".join(map(str, needs.version))
        found.append(
            Obstacle(f"Redis {wanted} (this is {'.'.join(map(str, version))})", f"upgrade to Redis {wanted} or later")
        )
        return found
    if (needs.scripts or store == "scripted") and (refusal := script_refusal(client)):
        found.append(
            Obstacle(
                f"scripts ({refusal})",
                "allow the user EVAL, EVALSHA and SCRIPT LOAD (ACL +@scripting), and do not rename these commands"
                + ("" if needs.scripts else "; or move the namespace with dueq migrate --store transactional"),
            )
        )
    if lacking := refused(client, keys.plain("probe"), needed(strategy, store)):
        found.append(_of_commands(lacking, keys))
    if needs.notifications:
        no_events = keyspace_events.refusal(client, needs.notifications, keys.of(needs.events, ""))
        if no_events:
            found.append(Obstacle(f"keyspace events ({no_events.reason})", no_events.remedy))
    return found


def _of_commands(lacking: Mapping[str, str], keys: Keys) -> Obstacle:
    names, said = ", ".join(lacking), next(iter(lacking.values()))
    allow = " ".join(f"+{name.lower()}" for name in lacking)
    return Obstacle(
        f"the permission for {names} ({said})",
        f"allow the user these commands on the keys {keys.prefix}* ({allow}; dueq doctor --acl prints the whole rule), "
        f"and do not rename them",
    )


def check(client: redis.Redis, strategy: type[Strategy], keys: Keys, store: StoreKind | None = None) -> None:
    """Raise StrategyUnavailable, saying what to change, if the server cannot run ``strategy``; see ``obstacles``."""
    if found := obstacles(client, strategy, keys, store):
        lacks = "; ".join(f"it lacks {obstacle.lacking}: {obstacle.remedy}" for obstacle in found)
        raise StrategyUnavailable(f"strategy {strategy.name!r} cannot run on this server: {lacks} (see dueq doctor)")
