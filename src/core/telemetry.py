"""What happened, put into the contract's metrics: the only place where roles and metrics meet.

Stores and strategies return what they did; the roles pass it on to one of these. Lateness is measured from due_at.
"""

from __future__ import annotations

from collections.abc import Iterable

from .clock import US, ServerClock
from .codec import Record
from .metrics import Repair
from .store.base import Lost, Outcome
from .tally import Tally

_OUTCOMES = {"ack": "done", "retry": "retried", "dead": "dead"}


class Telemetry:
    """What every role reports: that its loop turns, and how many commands it has sent."""

    def __init__(self, tally: Tally, role: str, strategy: str) -> None:
        self.tally, self.role, self.strategy = tally, role, strategy

    def turn(self, sleeps: float = 0.0) -> None:
        """The loop begins another turn, or a sleep of so many seconds."""
        self.tally.turn(sleeps)
        self.tally.mirror_commands(self.role)

    def finished_dead(self, lost: Iterable[Lost]) -> None:
        """Tasks that were buried since they took too many workers with them."""
        for claim in lost:
            if claim.how == "dead":
                self._count("dueq_tasks_finished_total", claim.queue, outcome="dead")

    def _count(self, name: str, queue: str, **labels: str) -> None:
        self.tally.counter(name, strategy=self.strategy, queue=queue, **labels).inc()

    def _late(self, queue: str, stage: str, seconds: float) -> None:
        labels = {"strategy": self.strategy, "queue": queue, "stage": stage}
        self.tally.histogram("dueq_task_lateness_seconds", **labels).observe(max(0.0, seconds))


class WorkerTelemetry(Telemetry):
    """What a worker reports."""

    def started(self, claim: Record, clock: ServerClock, leased_us: int) -> None:
        """A task starts now; its lease began at ``leased_us`` by Redis's clock."""
        now = clock.latest_us()
        self._late(claim.queue, "leased", (leased_us - claim.due_us) / US)
        self._late(claim.queue, "started", (now - claim.due_us) / US)
        reason = "first" if not claim.cause else "retry" if claim.cause == "retry" else "redelivered"
        self._count("dueq_deliveries_total", claim.queue, reason=reason)
        if clock.earliest_us() < claim.due_us:
            self._count("dueq_early_starts_total", claim.queue)
        if reason == "redelivered":
            self._count("dueq_duplicates_total", claim.queue, cause=claim.cause)
            if claim.since_us:
                self.tally.histogram("dueq_recovery_seconds", cause=claim.cause).observe(
                    max(0.0, (now - claim.since_us) / US)
                )

    def runs(self, claim: Record, hard_timeout: float | None) -> None:
        """A task's function is called now, for ``hard_timeout`` seconds at most: for the supervisor to see to."""
        self.tally.begin(claim.token, hard_timeout)

    def ended(self, claim: Record, task: str, seconds: float) -> None:
        """A task's function returned or raised after ``seconds``."""
        self.tally.end()
        labels = {"strategy": self.strategy, "queue": claim.queue, "task": task}
        self.tally.histogram("dueq_task_duration_seconds", **labels).observe(seconds)

    def finished(self, outcome: Outcome) -> None:
        """An outcome was accepted."""
        self._count("dueq_tasks_finished_total", outcome.claim.queue, outcome=_OUTCOMES[outcome.kind])

    def stale(self, outcome: Outcome) -> None:
        """An outcome was refused, since another owner had the task by then."""
        self._count("dueq_duplicates_total", outcome.claim.queue, cause="stale_ack")

    def dropped(self, queues: Iterable[str]) -> None:
        """Tasks, by queue, that were in a ready list although they had been taken already."""
        for queue in queues:
            self._count("dueq_duplicates_total", queue, cause="dispatch")


class DispatcherTelemetry(Telemetry):
    """What a dispatcher reports."""

    def moved(self, moved: Iterable[tuple[str, float]]) -> None:
        """Tasks were made ready, each with its queue and lateness in seconds."""
        for queue, seconds in moved:
            self._late(queue, "ready", seconds)

    def conflicts(self, conflicts: int) -> None:
        self.tally.counter("dueq_dispatch_conflicts_total", strategy=self.strategy).inc(conflicts)

    def woke(self, reason: str) -> None:
        self.tally.counter("dueq_dispatch_wakeups_total", strategy=self.strategy, reason=reason).inc()


class ReaperTelemetry(Telemetry):
    """What a reaper's process reports, in which the auditor is, too."""

    def repaired(self, kind: Repair) -> None:
        """The auditor put one thing right."""
        self.tally.counter("dueq_audit_repairs_total", strategy=self.strategy, kind=kind).inc()
