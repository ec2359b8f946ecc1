"""Can this server carry this strategy? Checked before anything starts, and shown by ``dueq doctor``."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from redis.exceptions import ResponseError

from ..strategies.base import Strategy
from . import notifications
from .connection import server_version
from .errors import StrategyUnavailable


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that a strategy needs and a server lacks: what it is, and what to change."""

    lacking: str
    remedy: str


def obstacles(client: redis.Redis, strategy: type[Strategy]) -> list[Obstacle]:
    """Why the server cannot run ``strategy``; empty if it can. Asks the server, changes nothing."""
    needs = strategy.needs
    found = []
    version = server_version(client)
    if version is not None and version < needs.version:
        wanted = ".".join(map(str, needs.version))
        found.append(
            Obstacle(f"Redis {wanted} (this is {'.'.join(map(str, version))})", f"upgrade to Redis {wanted} or later")
        )
        return found
    if needs.scripts and (refusal := _script_refusal(client)):
        found.append(
            Obstacle(
                f"scripts ({refusal})",
                "allow the user EVAL, EVALSHA and SCRIPT LOAD (ACL +@scripting), and do not rename these commands",
            )
        )
    if needs.notifications and (refused := notifications.refusal(client, needs.notifications)):
        found.append(Obstacle(f"keyspace events ({refused.reason})", refused.remedy))
    return found


def check(client: redis.Redis, strategy: type[Strategy]) -> None:
    """Raise StrategyUnavailable, saying what to change, if the server cannot run ``strategy``."""
    if found := obstacles(client, strategy):
        lacks = "; ".join(f"it lacks {obstacle.lacking}: {obstacle.remedy}" for obstacle in found)
        raise StrategyUnavailable(f"strategy {strategy.name!r} cannot run on this server: {lacks} (see dueq doctor)")


def _script_refusal(client: redis.Redis) -> str:
    try:
        client.eval("return 1", 0)
    except ResponseError as error:
        return str(error)
    return ""
