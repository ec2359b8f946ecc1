"""Why a dispatcher wakes once more a moment before a due time that it sleeps long for.

What a process has not done for a while it does slowly: its code and data are no longer in the processors' caches and
translation tables, and the host may have given both to others. After a second of sleep the way of a task from its due
time to its start takes several times as long: in the dispatcher, in Redis and in the worker alike. So the dispatcher
sends a request some milliseconds ahead, which finds nothing, and wakes idle workers of that queue, which find nothing
either. When the task is due, all of them have just gone that way.

It costs two requests of the dispatcher, and a step of each idle worker; and only after a long sleep.
"""

from __future__ import annotations

_LONG_S = 0.1  # after shorter sleeps the way is hardly slower
_AHEAD_S = 0.02  # a cold rehearsal itself may take this long


class Rehearsal:
    """When one dispatcher rehearses. All times are in seconds."""

    def __init__(self) -> None:
        self.is_next = False
        """Whether the sleep under way ends with a rehearsal."""
        self._ahead = 0.0

    def sleep(self, left: float, trip: float) -> float | None:
        """How long to sleep before a rehearsal for a task that is due in ``left``; None: there is none.

        ``trip`` is how long a request and its reply take: both requests of a rehearsal must be over in time.
        """
        self._ahead = _AHEAD_S + 2 * trip
        self.is_next = left > _LONG_S + self._ahead
        return left - self._ahead if self.is_next else None

    def begins(self, next_in: float | None) -> bool:
        """Whether to wake workers now, after a sleep, if the next task is due in ``next_in``.

        Not if the sleep was no sleep before a rehearsal, nor if that task was cancelled meanwhile.
        """
        was_next, self.is_next = self.is_next, False
        return was_next and next_in is not None and 0 < next_in <= max(_LONG_S, self._ahead)

    def interrupted(self) -> None:
        """The sleep did not last until its end."""
        self.is_next = False
