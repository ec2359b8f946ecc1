"""The outcomes of a worker's last tasks, until they are sent to Redis; and those whose reply is lost.

The acks of short tasks are put off, so that one step settles several. A worker that is killed meanwhile has tasks that
ended and that Redis has as started: they run again, counted as lost with their worker. There are ``MOST_PUT_OFF`` of
them at most, besides the one that ran last; and ``MOST_UNDER_WAY`` more if its connection was lost just before. One
waits no longer than ``PUT_OFF_S``; 0.1 s if the next task turns out to take long (see lease_extender.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from ..app import context
from ..store.values import Outcome

MOST_PUT_OFF = 16
"""Acks that one step settles."""
MOST_UNDER_WAY = 32
"""Outcomes that are sent and have no reply. With those put off, they are fewer than the 64 tasks of whose begin a
worker's counters tell after its death."""
PUT_OFF_S = 0.005
"""How long an ack waits for others between tasks."""


class Outcomes:
    """Where the outcomes of one worker are: put off, the last one, or in doubt."""

    def __init__(self) -> None:
        self.put_off: list[Outcome] = []
        self.in_doubt: deque[tuple[Outcome, bool]] = deque()
        """What is to be settled before anything else is sent; and whether it was sent before, and the reply is lost."""
        self._last: Outcome | None = None  # of the task that has just ended
        self._first_at = 0.0

    @property
    def waiting(self) -> int:
        """How many are still to be sent; those in doubt are not counted."""
        return len(self.put_off) + (self._last is not None)

    def ended(self, outcome: Outcome | None) -> None:
        """The last task has ended so; None if there was none."""
        self._last = outcome

    def can_wait(self) -> bool:
        """Put the last outcome off, if it is an ack that may wait. Whether nothing must be sent now."""
        last, now = self._last, time.monotonic()
        if last is not None:
            if last.kind != "ack" or last.claim.token in context.rescheduled_itself:
                return False
            if not self.put_off:
                self._first_at = now
            self.put_off.append(last)
            self._last = None
        return not self.put_off or (len(self.put_off) < MOST_PUT_OFF and now < self._first_at + PUT_OFF_S)

    def take(self) -> tuple[list[Outcome], Outcome | None]:
        """What is to be sent now: the acks that were put off, and the last outcome."""
        taken = self.put_off, self._last
        self.put_off, self._last = [], None
        return taken

    def doubt(self, acks: Sequence[Outcome], outcome: Outcome | None) -> None:
        """The reply to the step that was to settle these is lost."""
        self._settle_first(acks, outcome, sent=True)

    def settle_first(self) -> None:
        """Whatever is not sent yet is to be settled before anything else."""
        self._settle_first(*self.take(), sent=False)

    def _settle_first(self, acks: Sequence[Outcome], outcome: Outcome | None, *, sent: bool) -> None:
        self.in_doubt.extend((ack, sent) for ack in acks)
        if outcome is not None:
            self.in_doubt.append((outcome, sent))
