"""Whether a server runs scripts for this user, and so which store a namespace can have."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import redis
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from ..client.connection import server_version
from ..schema.ownership import StoreKind
from .strategy import Strategy


def store_for(client: redis.Redis, strategy: type[Strategy], recorded: str | None) -> StoreKind:
    """The store that ``strategy`` is to have: the one ``recorded`` in the namespace, if the strategy can have it; else
    the one that the server allows. The server is asked only if there is a choice."""
    possible = strategy.stores()
    for kind in possible:
        if kind == recorded:
            return kind
    return possible[-1] if len(possible) > 1 and script_refusal(client) else possible[0]


_CODE = re.compile(r"[A-Z]{3,} ")
"""How an error begins if Redis refuses a command for now: it is busy, for example, or loads its data."""


def script_refusal(client: redis.Redis) -> str:
    """The first command for running scripts that is refused to this user, and how; empty if none is.

    A server whose version is too old is not asked. Raises redis-py's errors if it refuses for another reason.
    """
    version = server_version(client)
    if version is not None and version < (2, 6):
        return "not before Redis 2.6"
    text = "return 1"
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    untyped: Any = client
    for command in (("EVAL", text, 0), ("EVALSHA", digest, 0), ("SCRIPT LOAD", text)):
        try:
            untyped.execute_command(*command)
        except NoScriptError:
            continue  # it was flushed meanwhile, but may be called
        except NoPermissionError as error:
            return f"{command[0]}: {error}"
        except ResponseError as error:
            if _CODE.match(str(error)):
                raise
            return f"{command[0]}: {error}"
    return ""
