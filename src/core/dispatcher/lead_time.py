"""How long before a due time a dispatcher asks, so that its question reaches Redis just then.

From the end of a sleep until Redis looks, some time goes by: the host wakes the process, code runs that has cooled
down, the question travels. Who sleeps until a task is due makes it late by all that. The least time that a question
travels is in the clock that the dispatcher goes by (``ServerClock.latest_us``), however long that is. For the rest it
asks earlier, by a lead that it learns from the answers. Redis decides by its clock as ever: nothing is early.

A question that comes too late makes the task late, and pulls the lead up by a part of that. One that comes too early
pulls it down by the same part of how early it was, and is asked again at once; if the task is late then, for the second
trip, that pulls it down, too. So both ways of missing the moment cost the same in the mean, wherever Redis is, and
what comes late now and then does not make the others come so early that they are asked over and over.

Where a trip takes long, a question that comes too early makes its task late by a whole one: there is no lead, and a
moment is added for the drift of clocks.
"""

from __future__ import annotations

from enum import Enum, auto

_MOST_S = 0.001  # longest lead, and longest lateness that is put down to the way
_PART = 0.1  # of what a task was late, added to the lead or taken off it
_LONG_TRIP_S = 0.004
_DRIFT_S = 0.0005
_WORTH_S = 0.002  # a shorter sleep leaves all warm, and questions must not outnumber the tasks when these are many


class _Question(Enum):
    """What the next answer will tell about the lead."""

    UNLED = auto()
    ONCE = auto()
    TOO_EARLY = auto()


class LeadTime:
    """The lead of one dispatcher. All times are in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """How much sooner than due it asks now."""
        self._question = _Question.UNLED
        self._trip = 0.0

    def sleep(self, left: float) -> float:
        """How long to sleep when a task is due in ``left``; not positive: ask at once. The next answer is learnt from.

        For short sleeps there is no lead, except between a question that came too early and the next.
        """
        if self._trip > _LONG_TRIP_S:
            return left + _DRIFT_S
        if self._question is _Question.TOO_EARLY:
            return left - self.seconds
        if left < _WORTH_S:
            return left
        self._question = _Question.ONCE
        return left - self.seconds

    def received(self, late: float | None, next_in: float | None, trip: float = 0.0) -> None:
        """Learn from an answer: how late the task was that was moved, None without one; and when the next is due.

        ``trip`` is how long the question and its answer took.
        """
        # one answer that stalls does not make a way long
        self._trip = min(trip, 2 * self._trip) if self._trip else trip
        question, self._question = self._question, _Question.UNLED
        if question is _Question.UNLED:
            return
        if late is not None:
            step = _PART * min(late, _MOST_S)
            self.seconds = min(max(0.0, self.seconds + (step if question is _Question.ONCE else -step)), _MOST_S)
        elif next_in is not None and next_in <= _MOST_S:
            if question is _Question.ONCE:
                self.seconds = max(0.0, self.seconds - _PART * next_in)
            self._question = _Question.TOO_EARLY
        # else the task is gone: cancelled, or another dispatcher has moved it

    def interrupted(self) -> None:
        """The sleep did not last until its end: nothing is learnt from the next reply."""
        self._question = _Question.UNLED
