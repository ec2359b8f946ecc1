"""Which Redis a command needs, by COMMAND DOCS of a new one; and all commands that a server receives, by MONITOR.

COMMAND DOCS has the version of commands, subcommands and most arguments. It describes only in prose what an old
argument may be today, and could not be then, such as a fraction or one of several keys: the tables here have that.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis

_MOST_WORDS = {
    "AUTH": 1,
    "CLIENT KILL": 1,
    "CLIENT LIST": 0,
    "CONFIG GET": 1,
    "CONFIG RESETSTAT": 0,
    "CONFIG SET": 2,
    "EXISTS": 1,
    "FLUSHALL": 0,
    "FLUSHDB": 0,
    "HSET": 3,
    "INFO": 0,
    "PING": 0,
    "SHUTDOWN": 0,
}
"""How many words may follow in Redis 2.4, for commands of which COMMAND DOCS does not tell that it was fewer then."""
_SINCE_2_4 = """
    BITCOUNT BITOP BITPOS COMMAND DUMP EVAL EVALSHA HINCRBYFLOAT HSCAN INCRBYFLOAT LATENCY MIGRATE PEXPIRE PEXPIREAT
    PFADD PFCOUNT PFDEBUG PFMERGE PFSELFTEST PSETEX PSYNC PTTL PUBSUB REPLCONF RESTORE ROLE SCAN SCRIPT SSCAN TIME
    ZLEXCOUNT ZRANGEBYLEX ZREMRANGEBYLEX ZREVRANGEBYLEX ZSCAN
"""
SINCE_2_4 = _SINCE_2_4.split()
"""The commands that Redis 2.8.17 knows and 2.4 does not."""
LIKE_2_4 = [f'rename-command {command} ""' for command in SINCE_2_4]
"""The options that make Redis 2.8.17 know only what 2.4 does."""
_WHOLE_SECONDS = ("BLPOP", "BRPOP", "BRPOPLPUSH")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Catalogue:
    """COMMAND DOCS of the server behind ``client`` (Redis 7.0 or later), compared with the version ``newest``."""

    def __init__(self, client: redis.Redis, newest: tuple[int, int] = (2, 4)) -> None:
        self._newest = newest
        self._docs = {name.upper(): doc for name, doc in _mapping(_command_docs(client)).items()}

    def complaint(self, words: Sequence[str]) -> str:
        """The part of this command that ``newest`` does not know; empty if it knows all of it."""
        name, *rest = words
        name = name.upper()
        if not (doc := self._docs.get(name)):
            return f"{name} is no command"
        if self._is_new(doc):
            return f"{name} is new"
        if (subcommands := doc.get("subcommands")) and rest:
            name = f"{name} {rest.pop(0).upper()}"
            doc = {key.replace("|", " ").upper(): value for key, value in subcommands.items()}.get(name)
            if doc is None or self._is_new(doc):
                return f"{name} is new, or nothing"
        arguments = doc.get("arguments", [])
        if token := next((word for word in rest[1:] if word.upper() in self._new_tokens(arguments)), None):
            return f"{token} of {name} is new"
        if len(rest) > _MOST_WORDS.get(name, self._most_words(arguments)):
            return f"{len(rest)} words after {name} are too many"
        if name in _WHOLE_SECONDS and not rest[-1].isdigit():
            return f"{name} waits whole seconds only"
        return ""

    def knows(self, name: str) -> bool:
        """Whether ``newest`` has the command, or subcommand, that the statistics of commands call ``name``."""
        doc = self._docs.get(name.partition("|")[0].upper(), {"since": "99.0"})
        if "|" in name:
            sub = doc.get("subcommands", {}).get(name, {"since": "99.0"})
            return not self._is_new(doc) and not self._is_new(sub)
        return not self._is_new(doc)

    def newer(self) -> set[str]:
        """The commands that ``newest`` does not have."""
        return {name for name in self._docs if not self.knows(name)}

    def _is_new(self, doc: Mapping[str, Any]) -> bool:
        major, minor = str(doc.get("since", "1.0")).split(".")[:2]
        return (int(major), int(minor)) > self._newest

    def _new_tokens(self, arguments: Sequence[Mapping[str, Any]], new: bool = False) -> Iterator[str]:
        for argument in arguments:
            is_new = new or self._is_new(argument)
            if is_new and "token" in argument:
                yield str(argument["token"]).upper()
            yield from self._new_tokens(argument.get("arguments", ()), is_new)

    def _most_words(self, arguments: Sequence[Mapping[str, Any]]) -> float:
        return sum(self._words_of(argument) for argument in arguments)

    def _words_of(self, argument: Mapping[str, Any]) -> float:
        if self._is_new(argument):
            return 0
        if "multiple" in argument.get("flags", ()) or "multiple_token" in argument.get("flags", ()):
            return math.inf
        token, kind, parts = int("token" in argument), argument["type"], argument.get("arguments", ())
        if kind == "pure-token":
            return 1
        if kind == "oneof":
            return token + max(self._words_of(part) for part in parts)
        return token + (self._most_words(parts) if kind == "block" else 1)


def _command_docs(client: redis.Redis) -> Any:
    # by the connection itself: redis-py would parse the reply as that of COMMAND
    connection: Any = client.connection_pool.get_connection()
    try:
        connection.send_command("COMMAND", "DOCS")
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def _mapping(reply: Any) -> dict[str, Any]:
    """The nested lists of RESP2 as mappings, wherever they are pairs."""
    return {_text(key): _value(_text(key), value) for key, value in zip(reply[::2], reply[1::2], strict=True)}


def _value(key: str, value: Any) -> Any:
    if key == "arguments":
        return [_mapping(argument) for argument in value]
    if key == "flags":
        return [_text(flag) for flag in value]
    if isinstance(value, list) and key not in ("history", "doc_flags"):
        return _mapping(value)
    return value if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Recording:
    """All commands that a server received: word by word as far as MONITOR shows them, and counts by name."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.calls: dict[str, int] = {}

    def hidden(self) -> dict[str, int]:
        """The commands that MONITOR did not show, such as CONFIG and HELLO, by the names of the statistics."""
        shown = Counter(_statistics_name(words) for words in self.commands)
        shown.update(Counter(words[0].lower() for words in self.commands))
        return {name: calls for name, calls in self.calls.items() if calls > shown[name]}


def _statistics_name(words: Sequence[str]) -> str:
    return "|".join(words[:2]).lower()


@contextmanager
def recorded(client: redis.Redis) -> Iterator[Recording]:
    """Record, until the end of the block, all commands that the server of ``client`` receives from any client."""
    recording, end = Recording(), "the end of the record"
    before = _calls(client)
    monitor: Any = client.connection_pool.get_connection()
    monitor.send_command("MONITOR")
    monitor.read_response()

    def read() -> None:
        while True:
            words = _WORD.findall(monitor.read_response(timeout=None).decode("latin-1").split("] ", 1)[1])
            if words == ["ECHO", end]:
                return
            recording.commands.append(words)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield recording
    finally:
        client.echo(end)
        reader.join(30)
        assert not reader.is_alive(), "MONITOR stopped short"
        monitor.disconnect()
    ours = {"monitor": 1, "echo": 1, "info": 1}  # sent here; an INFO is counted only in the next one
    recording.calls = {
        name: new
        for name, calls in _calls(client).items()
        if (new := calls - before.get(name, 0) - ours.get(name, 0)) > 0
    }


def _calls(client: redis.Redis) -> dict[str, int]:
    """How often each command was called, or rejected before its call."""
    stats: Any = client.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): int(stat["calls"]) + int(stat["rejected_calls"]) for name, stat in stats.items()
    }
