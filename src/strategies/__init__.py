"""Five ways to wait for a due time, each a module of its own; and the names of all that can be chosen."""

from __future__ import annotations

from ..core.store.registry import DEFAULT, GROUP, find, names

__all__ = ["DEFAULT", "GROUP", "find", "names"]
