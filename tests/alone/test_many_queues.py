"""The cost of a step depends on the queues that have work, and not on how many queues there are.

.venv/bin/python -m pytest tests/alone/test_many_queues.py -m alone -rP
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest
from support.world import LEASE_US, World

from dueq.core.client.embedded import EmbeddedServer
from dueq.core.maintenance.overdue import OverdueCheck
from dueq.core.store.crowds import served
from dueq.core.store.values import Loss, Outcome, Step
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import ReaperTelemetry

pytestmark = pytest.mark.alone

BUSY, FEW, MANY = 10, 10, 10_000
ROUNDS = 100
HOUR_US = 3600 * 1_000_000
AT_MOST = 2.0
NOISE_US = 10.0  # Redis counts whole microseconds, and the machine has other work


@contextmanager
def queues(directory: Path, strategy: str, number: int) -> Iterator[World]:
    """A namespace with a task far off in each of so many queues."""
    server = EmbeddedServer(directory, options={"appendonly": "no", "notify-keyspace-events": "Kx"})
    world = World(server.start(), "many", strategy)
    try:
        for queue in range(number):
            world.schedule(f"far-{queue}", queue=f"q{queue}", delay_us=HOUR_US)
        yield world
    finally:
        world.redis.connection_pool.disconnect()
        server.stop()


class Meter:
    """How long Redis was busy with each kind of step, in microseconds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.costs: dict[str, list[int]] = {}

    def of(self, kind: str, step: Callable[[], object]) -> None:
        before = self._spent()
        step()
        self.costs.setdefault(kind, []).append(self._spent() - before)

    def _spent(self) -> int:
        told = self._world.redis.info("commandstats")
        return sum(int(stats["usec"]) for command, stats in told.items() if command != "cmdstat_info")


def costs(world: World, number: int) -> dict[str, float]:
    """The median of each kind of step while ten queues of so many have work, all of which the worker serves."""
    names = [f"q{queue}" for queue in range(BUSY)]
    all_ = served([f"q{queue}" for queue in range(number)], in_turns=True)
    world.store.advance(Step("w1", all_, LEASE_US))
    overdue_check = OverdueCheck(world.actor(), ReaperTelemetry(Counters(), "reaper", world.strategy.name), lease=60)
    meter = Meter(world)
    for round_ in range(ROUNDS):
        for name in names:
            world.schedule(f"{round_}-{name}", queue=name)
        meter.of("dispatch", lambda: world.strategy.dispatch(100))
        meter.of("dispatch of nothing", lambda: world.strategy.dispatch(100))
        meter.of("overdue check", overdue_check.run_once)
        meter.of("give_back", lambda: world.store.give_back(Loss("gone", "worker_lost", 3)))
        meter.of("advance", lambda: world.store.advance(Step("w1", all_, LEASE_US, want=BUSY)))
        meter.of("reap", lambda: world.store.reap(100, LEASE_US, 3))
        for lost in world.store.give_back(Loss("w1", "unstarted", 99)):
            assert world.take("w1", lost.queue).started is not None
        claims = [world.store.record(f"{round_}-{name}") for name in names]
        for claim in claims:
            assert claim is not None
            assert world.settle("w1", Outcome(claim, "ack")) == "done"
    return {kind: median(some) for kind, some in meter.costs.items()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", ["lua", "keyspace"])
def test_ten_thousand_queues_of_which_ten_are_busy_cost_what_ten_cost(tmp_path: Path, strategy: str) -> None:
    found: dict[int, dict[str, float]] = {}
    for number in (FEW, MANY):
        with queues(tmp_path / str(number), strategy, number) as world:
            found[number] = costs(world, number)
    for kind, few in found[FEW].items():
        print(f"{strategy}: {kind}: {few:.0f} us with {FEW} queues, {found[MANY][kind]:.0f} us with {MANY:,}")
    assert [kind for kind, few in found[FEW].items() if found[MANY][kind] > AT_MOST * few + NOISE_US] == []
