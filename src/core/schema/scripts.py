"""Lua scripts: put together from their parts, and called so that a lost script cache heals itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import redis
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from ..client.connection import server_version
from ..client.protocol import Command
from ..client.wire import Wire, Wires
from ..errors import DueqError
from . import ownership
from .keys import Keys, lua_names
from .lua_linker import inlined, linked, with_needs, without_seldom
from .lua_names import written_out
from .ownership import Ownership

_HEAD = """local P = KEYS[1]
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
"""

Value = str | bytes | int

_QUOTED = re.compile(r"Error running script .*?: -?(?P<code>[A-Z]{2,}) (?P<text>.*)", re.DOTALL)
_KINDS: dict[str, type[ResponseError]] = {"OOM": OutOfMemoryError, "READONLY": ReadOnlyError}


@cache
def lua(package: str, name: str) -> str:
    """The text of ``name``.lua, which lies in ``package``."""
    return files(package).joinpath(f"{name}.lua").read_text("utf-8")


class Scripts:
    """The scripts of one namespace. Every one takes the key prefix, and Redis's time or 0, before its arguments."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        strategy: str,
        timers: str,
        now: Callable[[], int] | None = None,
        *,
        lazy: bool = False,
    ) -> None:
        """``timers`` is the Lua text that defines ``timer_add`` and ``timer_remove`` of ``strategy``.

        ``now`` tells the time (epoch microseconds) instead of Redis. ``lazy``: what is removed leaves its entry there.
        """
        self._client: Any = client  # redis-py leaves execute_command untyped
        self._wires, self._keys = Wires(client), keys
        self._ownership = Ownership(strategy, "scripted")
        core = str(__package__)
        self._head = f"{_HEAD}local STRATEGY = '{strategy}'\n{ownership.lua_constants()}"
        self._names, self._records, self._timers = lua_names(), written_out(lua(core, "records")), written_out(timers)
        self._claims = "\n".join(written_out(lua(core, part)) for part in ("quarantine", "claims", "unclaimed"))
        self._names += f"\nlocal function is_lazy() return {str(lazy).lower()} end"
        self._time = now

    def load(self, package: str, name: str) -> Script:
        """The script ``name``.lua of ``package``, with what it needs of all that scripts share in front of it."""
        return self.make(lua(package, name))

    def make(self, text: str) -> Script:
        """A script from its text, with what it needs of all that scripts share in front of it.

        It is put together when it is first called: a process calls but a few.
        """
        return Script(self, lambda: self._whole(written_out(text)))

    def _whole(self, text: str) -> str:
        return _assembled(self._head, self._names, self._records, self._timers, self._claims, text)

    def call(self, script: Script, arguments: Sequence[Value]) -> Any:
        """Run ``script`` and return its reply; sent again only when Redis says that it did not know it."""
        try:
            try:
                return self._wires.call("EVALSHA", script.digest, 1, self._keys.prefix, self._now(), *arguments)
            except NoScriptError:
                return self._wires.call(*self.command(script, arguments))
        except ResponseError as error:
            raise self._explained(_cause(error)) from None

    def _explained(self, error: ResponseError) -> Exception:
        return ownership.refusal(self._keys, self._ownership, error)

    def send(self, wire: Wire, script: Script, arguments: Sequence[Value]) -> None:
        """Send off ``script`` on ``wire``. Its answer is NoScriptError if Redis does not know it (any more)."""
        wire.send("EVALSHA", script.digest, 1, self._keys.prefix, self._now(), *arguments)

    def receive(self, wire: Wire) -> Any:
        """The answer to the first script sent off on ``wire`` that is not answered yet."""
        try:
            return wire.receive()
        except ResponseError as error:
            raise self._explained(_cause(error)) from error

    def command(self, script: Script, arguments: Sequence[Value]) -> Command:
        """The command that runs ``script`` also where Redis does not know it, for use inside MULTI."""
        return ("EVAL", script.text, 1, self._keys.prefix, self._now(), *arguments)

    def call_many(self, script: Script, batches: Iterable[Sequence[Value]]) -> list[Any]:
        """Run ``script`` once per batch in one round trip, each sent as soon as it is made.

        Replies come in order, errors among them as values.
        """
        now, known = self._now(), list[Sequence[Value]]()

        def commands() -> Iterator[Command]:
            for arguments in batches:
                known.append(arguments)
                yield ("EVALSHA", script.digest, 1, self._keys.prefix, now, *arguments)

        replies = self._wires.call_many(commands())
        for at, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                try:
                    replies[at] = self.call(script, known[at])
                except (ResponseError, DueqError) as error:
                    replies[at] = error
            elif isinstance(reply, ResponseError):
                replies[at] = self._explained(_cause(reply))
        return replies

    @property
    def uses_server_time(self) -> bool:
        """Whether scripts ask Redis for the time."""
        return self._clock() is _server_time

    def _now(self) -> int:
        return self._clock()()

    def _clock(self) -> Callable[[], int]:
        # before Redis 5 a script that asks for the time may not write: it is told the time instead
        if self._time is None:
            version = server_version(self._client)
            self._time = self._fetch_time if version is not None and version < (5,) else _server_time
        return self._time

    def _fetch_time(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds) * 1_000_000 + int(micros)


@cache  # once for all namespaces of a process: it takes milliseconds
def _assembled(head: str, names: str, records: str, timers: str, claims: str, text: str) -> str:
    """The script ``text`` with ``head``, and with what it and ``timers`` need of the rest, in front of it."""
    roots, shared = without_seldom(text), f"{records}\n{claims}"
    needed_claims = linked(claims, roots)
    needed_records = linked(records, timers, needed_claims, roots)
    rest = with_needs(text, shared, needed_records + needed_claims)
    needed_names = linked(names, needed_records, timers, needed_claims, rest)
    whole = "\n".join((head, needed_names, needed_records, timers, needed_claims, rest))
    return inlined(whole, f"{names}\n{shared}", f"{timers}\n{text}")


def _server_time() -> int:
    """Told so, a script asks Redis for the time."""
    return 0


def _cause(error: ResponseError) -> ResponseError:
    """Why Redis refused a command of a script: before Redis 7 the error is the script's, and quotes the command's."""
    quoted = _QUOTED.match(str(error))
    if quoted is None:
        return error
    code, text = quoted["code"], quoted["text"].strip()
    return _KINDS[code](text) if code in _KINDS else ResponseError(f"{code} {text}")


class Script:
    """One script, ready to be called with its own arguments."""

    def __init__(self, scripts: Scripts, whole: Callable[[], str]) -> None:
        self._scripts, self._whole = scripts, whole

    @cached_property
    def text(self) -> str:
        return self._whole()

    @cached_property
    def digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, *arguments: Value) -> Any:
        return self._scripts.call(self, arguments)

    def load(self, wire: Wire) -> None:
        """Make Redis know this script, over ``wire``."""
        wire.send("SCRIPT", "LOAD", self.text)
        self._scripts.receive(wire)

    @property
    def goes_by_servers_clock(self) -> bool:
        """Whether it asks Redis for the time when it runs, rather than being told with the request."""
        return self._scripts.uses_server_time

    def send(self, wire: Wire, arguments: Sequence[Value]) -> None:
        self._scripts.send(wire, self, arguments)

    def receive(self, wire: Wire) -> Any:
        return self._scripts.receive(wire)

    def command(self, *arguments: Value) -> Command:
        return self._scripts.command(self, arguments)

    def many(self, batches: Iterable[Sequence[Value]]) -> list[Any]:
        return self._scripts.call_many(self, batches)
