"""A server that forgot every script (SCRIPT FLUSH, a restart, a failover) gets them again, unnoticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.world import LEASE_US, SCRIPTED, World

from dueq.core.schema.record import Record
from dueq.core.store.values import Loss, Outcome

Operation = Callable[[World, Record, Record], object]

OPERATIONS: dict[str, Operation] = {
    "schedule": lambda world, claim, held: world.schedule("new"),
    "schedule many": lambda world, claim, held: world.schedule(*[f"new{number}" for number in range(250)]),
    "dispatch": lambda world, claim, held: world.dispatch_all(),
    "advance": lambda world, claim, held: world.settle("w1", Outcome(claim, "ack")) == "done",
    "extend": lambda world, claim, held: world.store.extend("w1", [claim], LEASE_US) == [True],
    "release": lambda world, claim, held: world.store.release("w1", [held]) == 1,
    "give_back": lambda world, claim, held: world.store.give_back(Loss("w1", "worker_lost", 9)),
    "reap": lambda world, claim, held: world.store.reap(100, LEASE_US, 9).next_us,
    "cancel": lambda world, claim, held: world.store.cancel("scheduled"),
    "reschedule": lambda world, claim, held: world.store.reschedule("scheduled", 0),
    "revive": lambda world, claim, held: world.store.revive(["dead"]) == 1,
    "discard": lambda world, claim, held: world.store.discard(["dead"]) == 1,
    "census": lambda world, claim, held: world.strategy.census(["q"])[0].scheduled,
    "depth": lambda world, claim, held: world.store.depth("q").leased,
}


@pytest.mark.parametrize("strategy_name", SCRIPTED)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_healed(world: World, operation: str) -> None:
    world.ready("dead")
    assert world.settle("w1", Outcome(world.started(), "dead")) == "done"
    world.ready("a", "b")
    step = world.take(want=2)
    assert step.started is not None
    world.schedule("scheduled")
    for _ in range(2):
        world.redis.script_flush()
    assert OPERATIONS[operation](world, step.started, step.held[0])
