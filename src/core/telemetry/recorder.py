"""Turns what happened into the contract's metrics: the only place where roles and metrics meet.

Stores and strategies return what they did; the roles pass it to one of these. Lateness is measured from due_at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..clock import US, ServerClock
from ..schema.journal import Journal, Kind
from ..schema.record import Record
from ..store.strategy import Moved
from ..store.unclaimed import legible
from ..store.values import Aside, Lost, Outcome
from .counters import CounterHandle, Counters, HistogramHandle
from .labels import Names
from .metrics import Repair

_OUTCOMES = {"ack": "done", "misfire": "misfired", "retry": "retried", "snooze": "snoozed", "dead": "dead"}
_ASKED_FOR = ("retry", "snoozed")  # causes of a start that are no loss
_EVENTS: dict[str, Kind] = {"ack": "done", "misfire": "misfired", "retry": "retry", "snooze": "snoozed", "dead": "dead"}
_REASON_CHARACTERS = 200


class Telemetry:
    """What every role reports: that its loop turns, and how many commands it has sent."""

    def __init__(
        self, counters: Counters, role: str, strategy: str, journal: Journal | None = None, queues: Iterable[str] = ()
    ) -> None:
        """What happens to single tasks goes into ``journal``, too, if there is one. Metrics always name ``queues``,
        instead of counting them as ``other``."""
        self.counters, self.role, self.strategy, self.journal = counters, role, strategy, journal
        self._refusing: set[object] = set()
        self._names = {"queue": Names(queues), "task": Names()}
        self._counters: dict[tuple[str, ...], CounterHandle] = {}  # handles used before, found again faster
        self._times: dict[tuple[str, ...], HistogramHandle] = {}

    def refused(self, loop: object, refuses: bool) -> None:
        """Note whether Redis refuses what one loop of this process needs."""
        (self._refusing.add if refuses else self._refusing.discard)(loop)
        self.counters.refused = bool(self._refusing)

    def turn(self, sleeps: float = 0.0) -> None:
        """The loop begins another turn, or a sleep of ``sleeps`` seconds."""
        self.counters.turn(sleeps)
        self.counters.mirror_commands(self.role)

    def lost(self, lost: Iterable[Lost], at_us: int, cause: str, how: str = "", worker: str = "") -> None:
        """The owners of these tasks are gone; tasks that cost too many workers were buried."""
        for claim in lost:
            if claim.how == "dead":
                self._count("dueq_tasks_finished_total", claim.queue, outcome="dead")
            if claim.how != "held":
                facts: dict[str, Any] = {"cause": cause, "worker": worker, "how": how, "buried": claim.how == "dead"}
                self._note(at_us, "lost", claim.id, **{name: fact for name, fact in facts.items() if fact})

    def write_notes(self) -> None:
        """Write the journal's notes now, in a process that has no thread for them."""
        if self.journal is not None:
            self.journal.flush()

    def _note(self, at_us: int, kind: Kind, task_id: str, token: int = 0, **facts: Any) -> None:
        if self.journal is not None:
            self.journal.note(at_us, kind, task_id, token, **facts)

    def _count(self, name: str, queue: str, **labels: str) -> None:
        which = (name, queue, *labels.values())
        if (counter := self._counters.get(which)) is None:
            counter = self.counters.counter(name, strategy=self.strategy, **self._named(queue, labels))
            if counter.has_room:
                self._counters[which] = counter
        counter.inc()

    def _observe(self, name: str, seconds: float, queue: str, **labels: str) -> None:
        which = (name, queue, *labels.values())
        if (times := self._times.get(which)) is None:
            times = self.counters.histogram(name, strategy=self.strategy, **self._named(queue, labels))
            if times.has_room:
                self._times[which] = times
        times.observe(seconds)

    def _named(self, queue: str, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels as they are shown: only the first queues and tasks have names of their own."""
        given = {"queue": queue, **labels}
        return {
            label: self._names[label].of(value) if label in self._names else value for label, value in given.items()
        }

    def _late(self, queue: str, stage: str, seconds: float) -> None:
        self._observe("dueq_task_lateness_seconds", max(0.0, seconds), queue, stage=stage)


class WorkerTelemetry(Telemetry):
    """What a worker reports."""

    def started(self, claim: Record, clock: ServerClock, leased_us: int) -> None:
        """A task starts now; its lease began at ``leased_us`` by Redis's clock."""
        now = clock.latest_us()
        more = {"cause": claim.cause, **claim.since_scheduled()} if claim.cause else claim.since_scheduled()
        # Redis's time, as for later events: an estimate might be after the end of a short task
        self._note(leased_us, "started", claim.id, claim.token, attempt=claim.starts, due_us=claim.due_us, **more)
        self._late(claim.queue, "leased", (leased_us - claim.due_us) / US)
        self._late(claim.queue, "started", (now - claim.due_us) / US)
        reason = "first" if not claim.cause else "retry" if claim.cause in _ASKED_FOR else "redelivered"
        self._count("dueq_deliveries_total", claim.queue, reason=reason)
        if clock.earliest_us() < claim.due_us:
            self._count("dueq_early_starts_total", claim.queue)
        if reason == "redelivered":
            self._count("dueq_duplicates_total", claim.queue, cause=claim.cause)
            if claim.since_us:
                self.counters.histogram("dueq_recovery_seconds", cause=claim.cause).observe(
                    max(0.0, (now - claim.since_us) / US)
                )

    def runs(self, claim: Record, hard_timeout: float | None) -> None:
        """A task's function is called now, for ``hard_timeout`` seconds at most; the supervisor enforces that."""
        self.counters.begin(claim.token, hard_timeout)

    def ended(self, claim: Record, task: str, seconds: float) -> None:
        """A task's function returned or raised after ``seconds``."""
        self.counters.end()
        self._observe("dueq_task_duration_seconds", seconds, claim.queue, task=task)

    def finished(self, outcome: Outcome, now_us: int) -> None:
        """An outcome was accepted, not later than ``now_us``."""
        facts: dict[str, Any] = {"reason": outcome.reason[:_REASON_CHARACTERS]} if outcome.reason else {}
        if outcome.delay_us:
            facts["in_us"] = outcome.delay_us
        if outcome.kind == "misfire":
            facts |= {"expired_us": outcome.claim.expires_us, **outcome.claim.since_scheduled()}
        if outcome.due_us:
            facts["due_us"] = outcome.due_us
        self._note(now_us, _EVENTS[outcome.kind], outcome.claim.id, outcome.claim.token, **facts)
        self._count("dueq_tasks_finished_total", outcome.claim.queue, outcome=_OUTCOMES[outcome.kind])

    def begun_too_late(self, claim: Record, now_us: int) -> None:
        """A task had begun here before it turned out, not later than ``now_us``, that another owner has it."""
        self._note(now_us, "lost", claim.id, claim.token, cause="lease_expired")
        self._count("dueq_duplicates_total", claim.queue, cause="lease_expired")

    def stale(self, outcome: Outcome, now_us: int) -> None:
        """An outcome was refused, not later than ``now_us``, since another owner had the task by then."""
        self._note(now_us, "refused", outcome.claim.id, outcome.claim.token)
        self._count("dueq_duplicates_total", outcome.claim.queue, cause="stale_ack")

    def put_aside(self, aside: Iterable[Aside], now_us: int) -> None:
        """Tasks were put aside at ``now_us``, unstarted: this application does not define what they call."""
        for one in aside:
            self._note(now_us, "unclaimed", one.id, task=legible(one.name))

    def dropped(self, queues: Iterable[str]) -> None:
        """Tasks, by queue, that were in a ready list although they had been taken already."""
        for queue in queues:
            self._count("dueq_duplicates_total", queue, cause="dispatch")


class DispatcherTelemetry(Telemetry):
    """What a dispatcher reports."""

    def moved(self, moved: Iterable[Moved], now_us: int) -> None:
        """Tasks were made ready at ``now_us``."""
        for one in moved:
            self._late(one.queue, "ready", one.seconds)
            self._note(now_us, "ready", one.id, late_us=round(one.seconds * US))

    def conflicts(self, conflicts: int) -> None:
        self.counters.counter("dueq_dispatch_conflicts_total", strategy=self.strategy).inc(conflicts)

    def woke(self, reason: str) -> None:
        self.counters.counter("dueq_dispatch_wakeups_total", strategy=self.strategy, reason=reason).inc()


class ReaperTelemetry(Telemetry):
    """What the process of the reaper reports, in which the auditor runs, too."""

    def repaired(self, kind: Repair) -> None:
        """The auditor made one repair."""
        self.counters.counter("dueq_audit_repairs_total", strategy=self.strategy, kind=kind).inc()
