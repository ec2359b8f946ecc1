"""How much one step may do, so that Redis is held for a millisecond at most.

A step is a script, a transaction or a command. The scripts' own bounds are in records.lua.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

MOST_TASKS = 100
"""Tasks that one step moves."""
MOST_BYTES = 128 * 1024
"""Bytes of tasks that one step moves; one task is moved in any case."""


def steps(items: Sequence[T], size: Callable[[T], int], most: int = MOST_TASKS) -> Iterator[Sequence[T]]:
    """``items`` in their order, as many at once as one step may move: ``most``, of ``size`` bytes each."""
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
