"""The states of a task: one letter each in its record, the same for Python and Lua (see lua_names.py)."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a task, by the letter in its record."""

    SCHEDULED = "S"
    """It waits for its due time, or for a worker."""

    HELD = "H"
    """A worker holds it, and has not started it."""

    LEASED = "L"
    """A worker has started it."""

    UNCLAIMED = "U"
    """It was put aside: the worker that took it does not know its name."""

    DEAD = "D"
    """It is a dead letter."""


CLAIMED = (State.HELD, State.LEASED)
"""The states in which a worker has the task."""
