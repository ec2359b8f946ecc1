"""A worker's claim pipeline in the hands of a test."""

from __future__ import annotations

from collections import defaultdict

from dueq.core.client.failures import TRANSIENT
from dueq.core.clock import ServerClock
from dueq.core.namespace import Namespace
from dueq.core.schema.record import Record, task_of
from dueq.core.store.values import Outcome
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import WorkerTelemetry
from dueq.core.worker.pipeline import ClaimPipeline
from dueq.core.worker.prefetch import Prefetch

WORKER = "w1"


class Hired:
    """A worker without its loop: each ``turn`` settles the last task and begins the next."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        prefetch: int = 5,
        lease: float = 60.0,
        name: str = WORKER,
        many: bool = False,
    ) -> None:
        """``many``: there is a backlog of short tasks, so each step is for many; it takes ``prefetch`` at first."""
        self.counters = Counters(1 << 14)
        self.telemetry = WorkerTelemetry(self.counters, "worker", namespace.strategy.name)
        self.prefetch = Prefetch(0 if many else prefetch)
        if many:
            self.prefetch.ran("f", 0.0)
            while self.prefetch.want < prefetch:
                self.prefetch.found(prefetch, prefetch)
            self.prefetch.found(prefetch, prefetch + 1)
        self.pipeline = ClaimPipeline(
            namespace.store, name, ["q"], self.telemetry, ServerClock(), self.prefetch, lease=lease, max_losses=9
        )
        self.starts: dict[str, list[Record]] = defaultdict(list)
        self.seconds = 0.0  # that each task is said to take
        self._outcome: Outcome | None = None

    def turn(self) -> Record | None:
        outcome, self._outcome = self._outcome, None
        claim, leased_us = self.pipeline.step(["q"], outcome, None)
        if claim is not None:
            assert claim.due_us <= leased_us
            self.telemetry.runs(claim, None)
            self.starts[claim.id].append(claim)
            self.telemetry.ended(claim, "f", self.seconds)
            self.prefetch.ran(task_of(claim.body), self.seconds)
            self._outcome = Outcome(claim, "ack")
        return claim

    def begin(self) -> Record:
        """The next task that begins: what this process stood still over, it rightly gives back, and takes anew."""
        while (claim := self.turn()) is None:
            continue
        return claim

    def turns(self, patience: int = 5) -> None:
        """Until there is nothing to do."""
        while True:
            try:
                if self.turn() is None:
                    return
            except TRANSIENT:
                patience -= 1
                assert patience, "it is in trouble for ever"

    def leave(self) -> None:
        outcome, self._outcome = self._outcome, None
        self.pipeline.leave(outcome)

    def counted(self, name: str, **labels: str) -> float:
        return sum(
            series.values[0]
            for series in self.counters.series()
            if series.definition.name == name
            and labels.items() <= dict(zip(series.definition.labels, series.labels, strict=True)).items()
        )

    def held(self) -> list[Record]:
        """What it has not begun."""
        return [item.claim for item in self.pipeline._held]

    @property
    def duplicates(self) -> float:
        return self.counted("dueq_duplicates_total")

    @property
    def done(self) -> float:
        return self.counted("dueq_tasks_finished_total", outcome="done")
