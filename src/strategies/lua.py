"""``lua``: a zset per queue, and one script that moves what is due and returns the time until the next."""

from __future__ import annotations

from ..core.schema.scripts import lua
from ..core.store.strategy import Needs
from .zset_index import ScriptedTimers


class LuaStrategy(ScriptedTimers):
    """Dispatchers never conflict: Redis runs the script as one step, by its own clock."""

    name = "lua"
    summary = "zset and one script; exact, any number of dispatchers; needs EVAL"
    needs = Needs(version=(2, 6), scripts=True)

    @classmethod
    def timers(cls) -> str:
        return lua(__package__, "lua")
