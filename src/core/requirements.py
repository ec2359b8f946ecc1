"""Can this server carry this strategy? Checked before anything starts, and shown by ``dueq doctor``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import NoScriptError, ResponseError

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
    """Which of the commands that scripts are run by is refused, and how; empty if none is."""
    text = "return 1"
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    untyped: Any = client
    for command in (("EVAL", text, 0), ("EVALSHA", digest, 0), ("SCRIPT LOAD", text)):
        try:
            untyped.execute_command(*command)
        except NoScriptError:
            continue  # it was flushed meanwhile, but may be called
        except ResponseError as error:
            return f"{command[0]}: {error}"
    return ""
