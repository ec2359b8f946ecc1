"""How much one step may do, so that Redis is held for a millisecond at most; and how long things may be.

A step is a script, a transaction or a command. The scripts have these numbers, too, by the same names: ``bounds.X``
(see lua_names.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

MOST_TASKS = 64
"""Tasks that one step moves."""
MOST_BYTES = 128 * 1024
"""Bytes of tasks that one step moves; a single task may have more."""

SCRIPT_TASKS = 25
"""Tasks in one step of a script that takes each record apart, puts it together again and wakes a worker for it."""
SCRIPT_BYTES = 64 * 1024
"""Such a step takes no further task once it has this many bytes of tasks; the last task may exceed it."""

MOST_WAKEUPS = 16
"""Wake-ups that wait in one list: more workers are not woken at once."""
MOST_NAMED_QUEUES = 16
"""Queues that a worker names in each of its steps; a worker of more queues names their set (see store/crowds.py)."""
MOST_LISTS_ASIDE = 100
"""Lists of tasks put aside in which one step looks for a task that its worker knows."""
MOST_NOTES = 1000
"""Entries in each list of the journal; producers trim a list only once it is a tenth longer."""

MOST_ID_CHARACTERS = 128
"""Characters of a task's id."""
MOST_HEAD_BYTES = 180
"""Queue, due time and counters of a record take fewer bytes; a record where they do not is damaged."""

ALIVE_US = 45_000_000
"""Microseconds after its last sign of life for which a supervisor is taken to be alive; it gives three in that time."""
FRESH_US = 20_000_000
"""The same for which a request that one of its workers left waiting in Redis is taken for that of a living process."""


def steps(items: Sequence[T], size: Callable[[T], int], most: int = MOST_TASKS) -> Iterator[Sequence[T]]:
    """``items`` in order, in groups that one step may move: ``most`` items, and MOST_BYTES by the ``size`` of each."""
    at = 0
    while at < len(items):
        some = items[at : at + most]
        count = first_step(map(size, some))
        yield some[:count]
        at += count


def first_step(sizes: Iterable[int]) -> int:
    """How many of the first items, of ``sizes`` bytes, one step may move."""
    count = total = 0
    for size in sizes:
        total += size
        if count and total > MOST_BYTES:
            break
        count += 1
    return count
