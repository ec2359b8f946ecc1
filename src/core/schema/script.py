"""One Lua script, called so that a lost script cache heals itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import redis
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from ..client.connection import server_version
from ..client.protocol import Command
from ..client.wire import Wire, Wires
from ..errors import DueqError
from . import ownership
from .keys import Keys
from .ownership import Ownership

Value = str | bytes | int

_QUOTED = re.compile(r"Error running script .*?: -?(?P<code>[A-Z]{2,}) (?P<text>.*)", re.DOTALL)
_KINDS: dict[str, type[ResponseError]] = {"OOM": OutOfMemoryError, "READONLY": ReadOnlyError}


class Caller:
    """What the scripts of a namespace are called with: connections, the key prefix, and Redis's time or 0."""

    def __init__(self, client: redis.Redis, keys: Keys, ours: Ownership, now: Callable[[], int] | None) -> None:
        """``now`` tells the time (epoch microseconds) instead of Redis."""
        self.wires = Wires(client)
        self._client: Any = client  # redis-py leaves execute_command untyped
        self._keys, self._ours, self._time = keys, ours, now

    def words(self, how: str, script: str, arguments: Sequence[Value]) -> Command:
        """The command that runs ``script``, a text (EVAL) or a digest (EVALSHA)."""
        return (how, script, 1, self._keys.prefix, self._clock()(), *arguments)

    def explained(self, error: ResponseError) -> Exception:
        """The error of dueq that a script's ``error`` stands for."""
        return ownership.refusal(self._keys, self._ours, _cause(error))

    @property
    def uses_server_time(self) -> bool:
        """Whether scripts ask Redis for the time."""
        return self._clock() is _server_time

    def _clock(self) -> Callable[[], int]:
        # before Redis 5 a script that asks for the time may not write: the time goes with the request instead
        if self._time is None:
            version = server_version(self._client)
            self._time = self._fetch_time if version is not None and version < (5,) else _server_time
        return self._time

    def _fetch_time(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds) * 1_000_000 + int(micros)


class Script:
    """One script, ready to be called with its own arguments."""

    def __init__(self, caller: Caller, assemble: Callable[[], str]) -> None:
        """``assemble`` makes the script's text when it is first needed."""
        self._caller, self._assemble = caller, assemble

    @cached_property
    def text(self) -> str:
        return self._assemble()

    @cached_property
    def digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def assemble(self) -> None:
        """Put the text together now: it takes milliseconds, which the first call may not have to spare."""
        _ = self.digest

    def __call__(self, *arguments: Value) -> Any:
        """Run the script and return its reply. It is sent again only if Redis did not know it."""
        caller = self._caller
        try:
            try:
                return caller.wires.call(*caller.words("EVALSHA", self.digest, arguments))
            except NoScriptError:
                return caller.wires.call(*self.command(*arguments))
        except ResponseError as error:
            raise caller.explained(error) from None

    def many(self, batches: Iterable[Sequence[Value]]) -> list[Any]:
        """Run the script once per batch in one round trip; each call is sent as soon as its batch is made.

        Replies come in order, errors among them as values.
        """
        known = list[Sequence[Value]]()

        def commands() -> Iterator[Command]:
            for arguments in batches:
                known.append(arguments)
                yield self._caller.words("EVALSHA", self.digest, arguments)

        replies = self._caller.wires.call_many(commands())
        for at, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                try:
                    replies[at] = self(*known[at])
                except (ResponseError, DueqError) as error:
                    replies[at] = error
            elif isinstance(reply, ResponseError):
                replies[at] = self._caller.explained(reply)
        return replies

    def command(self, *arguments: Value) -> Command:
        """The command that runs the script even if Redis does not know it yet, for use inside MULTI."""
        return self._caller.words("EVAL", self.text, arguments)

    @property
    def goes_by_servers_clock(self) -> bool:
        """Whether the script reads Redis's clock when it runs, rather than getting the time with its arguments."""
        return self._caller.uses_server_time

    # -- over a connection of the caller's

    def load(self, wire: Wire) -> None:
        """Make Redis know this script."""
        wire.send("SCRIPT", "LOAD", self.text)
        self.receive(wire)

    def send(self, wire: Wire, arguments: Sequence[Value]) -> None:
        """Send the script off. The reply is NoScriptError if Redis does not know it (any more)."""
        wire.send(*self._caller.words("EVALSHA", self.digest, arguments))

    def receive(self, wire: Wire) -> Any:
        """The reply to the oldest script sent off on ``wire`` whose reply was not received yet."""
        try:
            return wire.receive()
        except ResponseError as error:
            raise self._caller.explained(error) from error


def _server_time() -> int:
    """The time to send so that a script reads Redis's clock."""
    return 0


def _cause(error: ResponseError) -> ResponseError:
    """The error of a script's command: before Redis 7, the script's error only quotes it."""
    quoted = _QUOTED.match(str(error))
    if quoted is None:
        return error
    code, text = quoted["code"], quoted["text"].strip()
    return _KINDS[code](text) if code in _KINDS else ResponseError(f"{code} {text}")
