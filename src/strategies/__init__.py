"""Five ways to wait for a due time, each a module of its own; and the registry of strategies by name."""

from __future__ import annotations

from ..core.store.registry import DEFAULT, GROUP, find, names

__all__ = ["DEFAULT", "GROUP", "find", "names"]
