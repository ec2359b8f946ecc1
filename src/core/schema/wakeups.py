"""Ringing, as commands of Redis 2.4: what wakes a dispatcher or a worker that sleeps on its list.

The scripts' own versions of these stand in schema/records.lua.
"""

from __future__ import annotations

from ..client.protocol import Command
from .keys import Keys

_MOST_RINGS = 16


def ring_dispatcher(keys: Keys) -> list[Command]:
    """Wake one dispatcher. One ring is enough: whoever wakes up looks at everything that is due."""
    wake = keys.plain("wake")
    return [("LPUSH", wake, "1"), ("LTRIM", wake, 0, 0)]


def ring_workers(keys: Keys, queue: str, tasks: int) -> list[Command]:
    """The queue is busy: wake up to ``tasks`` of its workers. One that finds more work than it takes rings again.

    Goes with every push to a ready list, in the same step. A queue that is rung for is always among the busy ones.
    """
    return [("ZADD", keys.plain("busy"), 0, queue), *ring(keys, queue, tasks)] if tasks > 0 else []


def ring(keys: Keys, name: str, rings: int) -> list[Command]:
    """Ring the bell ``name`` up to so many times."""
    bell = keys.of("bell", name)
    return [("LPUSH", bell, *("1",) * min(rings, _MOST_RINGS)), ("LTRIM", bell, 0, _MOST_RINGS - 1)]
