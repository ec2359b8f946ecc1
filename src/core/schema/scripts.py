"""The Lua scripts of a namespace, put together from their parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

import redis

from . import ownership
from .keys import Keys, lua_names
from .lua_linker import inlined, linked, with_needs, without_seldom
from .lua_names import written_out
from .ownership import Ownership
from .script import Caller, Script

_HEAD = """local P = KEYS[1]
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
"""


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

        ``now`` tells the time (epoch microseconds) instead of Redis. ``lazy``: a removed task leaves its entry in the
        index.
        """
        self._caller = Caller(client, keys, Ownership(strategy, "scripted"), now)
        core = str(__package__)
        self._head = f"{_HEAD}local STRATEGY = '{strategy}'\n{ownership.lua_constants()}"
        self._names = f"{lua_names()}\nlocal function is_lazy() return {str(lazy).lower()} end"
        self._records, self._timers = written_out(lua(core, "records")), written_out(timers)
        self._claims = "\n".join(written_out(lua(core, part)) for part in ("quarantine", "claims", "unclaimed"))

    def load(self, package: str, name: str) -> Script:
        """The script ``name``.lua of ``package``, behind the shared functions that it needs."""
        return self.make(lua(package, name))

    def make(self, text: str) -> Script:
        """A script from its text, behind the shared functions that it needs.

        It is put together when it is first called: a process calls only a few scripts.
        """
        return Script(self._caller, lambda: self._whole(written_out(text)))

    def _whole(self, text: str) -> str:
        return _assembled(self._head, self._names, self._records, self._timers, self._claims, text)


@cache  # once for all namespaces of a process: it takes milliseconds
def _assembled(head: str, names: str, records: str, timers: str, claims: str, text: str) -> str:
    """The script ``text``, behind ``head`` and the functions that it and ``timers`` need of the rest."""
    roots, shared = without_seldom(text), f"{records}\n{claims}"
    needed_claims = linked(claims, roots)
    needed_records = linked(records, timers, needed_claims, roots)
    rest = with_needs(text, shared, needed_records + needed_claims)
    needed_names = linked(names, needed_records, timers, needed_claims, rest)
    whole = "\n".join((head, needed_names, needed_records, timers, needed_claims, rest))
    return inlined(whole, f"{names}\n{shared}", f"{timers}\n{text}")
