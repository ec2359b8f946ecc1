"""Every command that dueq sends, by what needs it: ``dueq doctor`` tries these, and the smallest ACL rule allows them.

A strategy names its own commands in ``needs``. Tests compare this with the commands that their servers received.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import NoPermissionError, ResponseError

from ..schema.ownership import StoreKind
from .strategy import Strategy

_EVERY = """
    PING GET MGET SET GETSET EXISTS DEL TYPE RENAME INCR INCRBY HGET HGETALL HKEYS HLEN HEXISTS HMGET HMSET HSET HSETNX
    HDEL HINCRBY SMEMBERS SADD SREM LINDEX LLEN LRANGE LPUSH LPUSHX LTRIM LREM RPUSH RPOPLPUSH BLPOP
    ZADD ZREM ZSCORE ZCARD ZRANGE ZRANGEBYSCORE ZREVRANGE ZREMRANGEBYRANK WATCH UNWATCH MULTI EXEC DISCARD
"""
_HELPFUL = frozenset({"CLIENT|INFO"})
"""What workers of the scripted store ask for and do without: they look more often then."""
_SCRIPTED = "EVAL EVALSHA SCRIPT|LOAD TIME ZCOUNT ZINTERSTORE EXPIRE"

_WORDS = """
    PING | GET k | HGET k f | HGETALL k | HLEN k | HMGET k f | HMSET k f v | HSET k f v | HSETNX k f v | HDEL k f
    HINCRBY k f 1 | SMEMBERS k | SADD k m | SREM k m | LINDEX k 0 | LLEN k | LRANGE k 0 0 | LPUSH k v | LPUSHX k v
    LTRIM k 0 0 | LREM k 0 v | RPUSH k v | RPOPLPUSH k k | BLPOP k 1 | ZADD k 0 m | ZREM k m | ZSCORE k m | ZRANGE k 0 0
    ZRANGEBYSCORE k 0 0 | ZREVRANGE k 0 0 | ZREMRANGEBYRANK k 0 0 | ZCARD k | ZINTERSTORE k 1 k | MGET k | SET k v
    GETSET k v | EXISTS k | DEL k | INCR k | INCRBY k 1 | TYPE k | TIME | HEXISTS k f | WATCH k | UNWATCH | DBSIZE
    PEXPIREAT k 1 | HKEYS k | ZCOUNT k 0 0 | RENAME k k | EXPIRE k 1
"""
EXAMPLES = {line.split()[0]: line.split()[1:] for line in _WORDS.replace("\n", "|").split("|") if line.strip()}
"""The words that each command is tried with; ``k`` is a key. Commands missing here are tried elsewhere."""


def needed(strategy: type[Strategy], store: StoreKind) -> frozenset[str]:
    """The commands that processes and the command line send to a namespace that ``strategy`` owns with ``store``.

    A subcommand is written as Redis does, SCRIPT|LOAD.
    """
    scripted = _SCRIPTED.split() if store == "scripted" else []
    return frozenset((*_EVERY.split(), *scripted, *strategy.needs.commands))


def allowed(strategy: type[Strategy], store: StoreKind) -> frozenset[str]:
    """The same, and what they can do without."""
    return needed(strategy, store) | (_HELPFUL if store == "scripted" else frozenset())


def refused(client: redis.Redis, key: str, commands: frozenset[str]) -> dict[str, str]:
    """Those of ``commands`` that the server does not know or this user may not send, each with the server's error.

    Nothing changes: the commands are queued behind MULTI, where the server checks permissions at once, and then
    discarded. ``key`` is a key of the namespace that does not exist.
    """
    connection: Any = client.connection_pool.get_connection()
    try:
        if refusal := _replies(connection, [("MULTI",)])[0]:
            return {"MULTI": refusal}  # without MULTI the others would be executed
        tried = sorted(commands & EXAMPLES.keys())
        queued = [(name, *(key if word == "k" else word for word in EXAMPLES[name])) for name in tried]
        found = dict(zip([*tried, "DISCARD"], _replies(connection, [*queued, ("DISCARD",)]), strict=True))
        if not found["DISCARD"]:
            found["EXEC"] = _replies(connection, [("EXEC",)])[0]
        return {name: said for name, said in found.items() if said}
    finally:
        connection.disconnect()  # this also drops commands that were queued and could not be discarded
        client.connection_pool.release(connection)


def _replies(connection: Any, commands: Sequence[Sequence[str]]) -> list[str]:
    """How the server refuses each command; empty if it allows it, also if the command fails for another reason."""
    connection.send_packed_command(connection.pack_commands(commands))
    return [_refusal(connection) for _ in commands]


def _refusal(connection: Any) -> str:
    try:
        connection.read_response()
    except ResponseError as error:
        said = str(error).lower()  # EXEC quotes the reason why it was aborted
        forbidden = isinstance(error, NoPermissionError) or "no permissions" in said
        return str(error) if forbidden or said.startswith("unknown command") else ""
    return ""
