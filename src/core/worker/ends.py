"""What became of the outcomes that a worker has sent, and of which starts Redis may know nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ..app import context
from ..store.values import Outcome, Settled
from ..telemetry.recorder import WorkerTelemetry
from .reports import Reports
from .standing import Standing

_REMEMBERED = 1000


class Ends:
    """The ends of one worker's tasks."""

    def __init__(self, telemetry: WorkerTelemetry, reports: Reports, standing: Standing) -> None:
        self._telemetry, self._reports, self._standing = telemetry, reports, standing
        self.last: deque[int] = deque(maxlen=_REMEMBERED)
        """Tokens of the tasks that were settled last, for the case that Redis loses their ends."""
        self._unconfirmed: set[int] = set()  # tokens of tasks that were begun, and the reply to the start is lost
        self._unwitnessed: set[int] = set()  # the same for acks: only the taking tells of the start

    def start_in_doubt(self, token: int) -> None:
        """A task was begun, and the reply to its start is lost."""
        self._unconfirmed.add(token)

    def acks_in_doubt(self, acks: Iterable[Outcome]) -> None:
        """The reply to acks is lost; the tasks were started by the steps that took them."""
        self._unwitnessed.update(ack.claim.token for ack in acks)

    def made_sure(self) -> None:
        """No outcome is in doubt any more."""
        self._unconfirmed.clear()
        self._unwitnessed.clear()

    def settled(self, outcome: Outcome, how: Settled, now_us: int, *, sent_again: bool = False) -> None:
        """Redis replied at ``now_us`` what became of an outcome."""
        token = outcome.claim.token
        # If an outcome is sent again, a record that is gone or claimed anew shows that the first one had arrived (an
        # ack leaves no record to claim, unless the task asked for a next run). It does not show that if the reply to
        # the start was lost, too, and another worker may have the task by now.
        others = token in self._unconfirmed and self._standing.may_be_anothers()
        others = others or (token in self._unwitnessed and self._standing.was_robbed)
        runs_on = outcome.runs_on or token in context.rescheduled_itself
        context.rescheduled_itself.discard(token)
        arrived = sent_again and not others and (how == "missing" or (how == "stale" and runs_on))
        if how in ("done", "repeated") or arrived:
            self.last.append(token)
            self._telemetry.finished(outcome, now_us)
        else:
            self._reports.stale(outcome, now_us)
