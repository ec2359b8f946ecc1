"""How long before a due time a dispatcher sends its request, so that the request reaches Redis just at that time.

From the end of a sleep until Redis looks, some time passes: the host wakes the process, code runs that is no longer in
the processor's caches, the request travels. A dispatcher that sleeps until a task is due makes the task late by all of
that. The least time that a request travels is in the dispatcher's clock already (``ServerClock.latest_us``), however
long it is. For the rest the dispatcher sends its request earlier, by a lead that it learns from the replies. Redis
still decides by its own clock: nothing is early.

A request that comes too late makes the task late, and raises the lead by a part of that. A request that comes too early
lowers the lead by the same part of how early it was, and is sent again at once; if the task is late then, because of
the second trip, that lowers the lead, too. So both ways of missing the moment cost the same on average, wherever Redis
is. And a few requests that come late do not make the others come so early that each has to be sent over and over.

Where a trip takes long, a request that comes too early makes its task late by a whole trip. There is no lead there, and
a moment is added for the drift of clocks.
"""

from __future__ import annotations

from enum import Enum, auto

_MOST_S = 0.001  # longest lead, and the most of a lateness that the lead is learnt from
_PART = 0.1  # of a task's lateness, added to the lead or taken off it
_LONG_TRIP_S = 0.004
_DRIFT_S = 0.0005
_WORTH_S = 0.002  # shorter sleeps need no lead: caches stay warm, and many tasks must not cost still more requests


class _Request(Enum):
    """What the reply to the next request shows about the lead."""

    UNLED = auto()
    ONCE = auto()
    TOO_EARLY = auto()


class LeadTime:
    """The lead of one dispatcher. All times are in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """The lead now."""
        self._request = _Request.UNLED
        self.trip = 0.0
        """How long a request and its reply take."""

    def sleep(self, left: float) -> float:
        """How long to sleep when a task is due in ``left``; not positive: send at once. The next reply is learnt from.

        For short sleeps there is no lead, except between a request that came too early and the next.
        """
        if self.trip > _LONG_TRIP_S:
            return left + _DRIFT_S
        if self._request is _Request.TOO_EARLY:
            return left - self.seconds
        if left < _WORTH_S:
            return left
        self._request = _Request.ONCE
        return left - self.seconds

    def received(self, late: float | None, next_in: float | None, trip: float = 0.0) -> None:
        """Learn from a reply: how late the moved task was (None: none was moved), and in how long the next is due.

        ``trip`` is how long the request and its reply took.
        """
        # one reply that stalls does not mean that trips take long
        self.trip = min(trip, 2 * self.trip) if self.trip else trip
        request, self._request = self._request, _Request.UNLED
        if request is _Request.UNLED:
            return
        if late is not None:
            step = _PART * min(late, _MOST_S)
            self.seconds = min(max(0.0, self.seconds + (step if request is _Request.ONCE else -step)), _MOST_S)
        elif next_in is not None and next_in <= _MOST_S:
            if request is _Request.ONCE:
                self.seconds = max(0.0, self.seconds - _PART * next_in)
            self._request = _Request.TOO_EARLY
        # else the task is gone: cancelled, or another dispatcher has moved it

    def interrupted(self) -> None:
        """The sleep did not last until its end: nothing is learnt from the next reply."""
        self._request = _Request.UNLED
