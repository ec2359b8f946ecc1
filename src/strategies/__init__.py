"""The strategies by name: those that come with dueq, and those that others register.

A third party adds one through the entry-point group ``dueq.strategies``: the name is the flag's value, the object a
subclass of ``base.Strategy``. The names of dueq's own cannot be taken.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from ..core.errors import ConfigurationError
from .base import Strategy

GROUP = "dueq.strategies"
DEFAULT = "lua"

_OWN = {
    "lua": "LuaStrategy",
    "keyspace": "KeyspaceStrategy",
    "tmpset": "TmpsetStrategy",
    "buckets": "BucketsStrategy",
    "watch": "WatchStrategy",
}
"""The class of each, in the module of its name. That is imported when it is chosen: a process needs one."""


def names() -> list[str]:
    """The names of all strategies that can be chosen, dueq's own first."""
    return [*_OWN, *sorted({entry.name for entry in entry_points(group=GROUP)} - _OWN.keys())]


def find(name: str) -> type[Strategy]:
    """The strategy called ``name``. Raises ConfigurationError if there is none, or if it is no Strategy."""
    if name in _OWN:
        own: type[Strategy] = getattr(import_module(f".{name}", __package__), _OWN[name])
        return own
    for entry in entry_points(group=GROUP, name=name):
        found = entry.load()
        if isinstance(found, type) and issubclass(found, Strategy):
            return found
        raise ConfigurationError(f"strategy {name!r} ({entry.value}) is no subclass of dueq.strategies.base.Strategy")
    raise ConfigurationError(f"there is no strategy {name!r}: choose one of {', '.join(names())}")
