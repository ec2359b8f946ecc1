"""Wake-ups, as commands of Redis 2.4: a dispatcher or a worker sleeps on a list until something is pushed to it.

The scripts' own versions are in schema/records.lua.
"""

from __future__ import annotations

from ..client.protocol import Command
from .bounds import MOST_WAKEUPS
from .keys import Keys


def wake_dispatcher(keys: Keys) -> list[Command]:
    """Wake one dispatcher. One wake-up is enough: the dispatcher looks at everything that is due."""
    key = keys.plain("wake")
    return [("LPUSH", key, "1"), ("LTRIM", key, 0, 0)]


def wake_workers(keys: Keys, queue: str, tasks: int) -> list[Command]:
    """Mark the queue busy, and wake up to ``tasks`` of its workers. A worker that finds more work wakes the next.

    Every step that pushes to a ready list sends these commands, too.
    """
    return [("ZADD", keys.plain("busy"), 0, queue), *push_wakeups(keys, queue, tasks)] if tasks > 0 else []


def push_wakeups(keys: Keys, name: str, times: int) -> list[Command]:
    """Push ``times`` wake-ups to the list ``name``; no more than ``MOST_WAKEUPS`` wait there."""
    key = keys.of("wakeup", name)
    return [("LPUSH", key, *("1",) * min(times, MOST_WAKEUPS)), ("LTRIM", key, 0, MOST_WAKEUPS - 1)]
