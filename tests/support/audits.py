"""Audits at the request of a test, and the repairs that they counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from dueq.core.maintenance.auditor import Auditor
from dueq.core.namespace import Namespace
from dueq.core.store.values import Outcome
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import ReaperTelemetry
from support.world import World

GRACE = 0.01
HOUR_US = 3600 * 1_000_000


class Audits:
    """Audits of one namespace, and the repairs that they counted."""

    def __init__(self, world: World, namespace: Namespace | None = None, *, grace: float = GRACE) -> None:
        self.world, self.counters, self._grace = world, Counters(), grace
        namespace = namespace or world.main
        telemetry = ReaperTelemetry(self.counters, "reaper", namespace.strategy.name)
        self.auditor = Auditor(namespace, telemetry, interval=3600, grace=grace, first_in=0)

    def steps(self) -> Iterator[float]:
        """Make one audit due, and run it step by step; yields the seconds that each step took."""
        self.world.redis.delete(self.world.keys.plain("audited"))
        yield from self.go_on()

    def go_on(self) -> Iterator[float]:
        """Run an audit that is due already. It waits only as long as a task may be on its way between two places."""
        while True:
            self.auditor._resume_at = 0.0  # otherwise it looks once a minute, and pauses to spare the server
            began = time.monotonic()
            pause = self.auditor.run_once()
            yield time.monotonic() - began
            if not self.auditor.busy:
                return
            time.sleep(min(pause, self._grace))

    def run(self) -> dict[str, int]:
        """Run one audit. Returns all repairs so far, by kind."""
        for _ in self.steps():
            pass
        return self.repairs

    @property
    def repairs(self) -> dict[str, int]:
        counts = Counter[str]()
        for series in self.counters.series():
            if series.definition.name == "dueq_audit_repairs_total":
                counts[series.labels[1]] += int(series.values[0])
        return dict(counts)


def every_state(world: World) -> None:
    """Make tasks that wait, are ready, held, leased and dead, and void entries."""
    world.ready("started", "held", "ready", "void", "void-again")
    world.take("w1", want=2)
    assert world.store.cancel("void")
    assert world.store.reschedule("void-again", HOUR_US, relative=True)
    world.ready("dead", queue="other")
    world.settle("w2", Outcome(world.started("w2", "other"), "dead"))
    world.schedule("waiting", delay_us=HOUR_US)
