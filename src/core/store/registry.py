"""The strategies by name: those that come with dueq, and those that others register.

A third party adds one through the entry-point group ``dueq.strategies``: the name is the flag's value, the object a
subclass of ``Strategy``. It cannot take the name of one of dueq's own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from .strategy import Strategy

GROUP = "dueq.strategies"
DEFAULT = "lua"

_OWN: dict[str, tuple[str, str]] = {}


def register(name: str, module: str, kind: str) -> None:
    """Let ``kind``, a class of ``module``, be one of dueq's own. It is imported when chosen: a process needs one."""
    _OWN[name] = (module, kind)


def names() -> list[str]:
    """The names of all strategies that can be chosen, dueq's own first."""
    return [*_OWN, *sorted({entry.name for entry in _registered()} - _OWN.keys())]


def find(name: str) -> type[Strategy]:
    """The strategy called ``name``. Raises ConfigurationError if there is none, or if it is not a Strategy."""
    if name in _OWN:
        module, kind = _OWN[name]
        own: type[Strategy] = getattr(import_module(module), kind)
        return own
    from .strategy import Strategy

    for entry in _registered(name):
        found = entry.load()
        if isinstance(found, type) and issubclass(found, Strategy):
            return found
        raise ConfigurationError(
            f"strategy {name!r} ({entry.value}) is not a subclass of dueq.strategies.base.Strategy"
        )
    raise ConfigurationError(f"there is no strategy {name!r}: choose one of {', '.join(names())}")


def _registered(*name: str) -> list[EntryPoint]:
    from importlib.metadata import entry_points  # imported here: it would slow down every short command

    return [entry for entry in entry_points(group=GROUP) if not name or entry.name in name]
