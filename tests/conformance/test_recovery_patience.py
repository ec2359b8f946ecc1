"""If Redis hangs, a supervisor that gives back the tasks of dead workers is delayed only once in a while."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.world import World

from dueq.core.maintenance.recovery import Recovery
from dueq.core.namespace import Namespace
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import Telemetry

TIMEOUT_S = 0.3


@pytest.mark.parametrize("strategy_name", ["lua", "watch"])
def test_redis_is_not_asked_again_at_each_turn(world: World, strategy_name: str) -> None:
    world.ready("a")
    world.started()
    namespace = world.adopt(Namespace.open(world.settings, timeout=TIMEOUT_S))
    recovery = Recovery(namespace, Telemetry(Counters(), "supervisor", strategy_name), 3)
    recovery.add("worker", "w1", how="was killed")
    server = int(world.redis.info()["process_id"])
    os.kill(server, signal.SIGSTOP)
    try:
        assert recovery.run_once() is not None
        began = time.monotonic()
        while time.monotonic() - began < 2 and recovery.run_once() is not None:
            continue
        assert 2 <= recovery._patience.failures <= 5, "each time later than before"
    finally:
        os.kill(server, signal.SIGCONT)
    assert recovery.waiting
    while (seconds := recovery.run_once()) is not None:
        time.sleep(seconds)
    assert world.started("w2").cause == "worker_lost"


@pytest.mark.parametrize("strategy_name", ["lua", "watch"])
def test_what_a_worker_that_is_not_to_blame_had_is_given_back_all_the_same(world: World, strategy_name: str) -> None:
    world.ready("a")
    world.started()
    recovery = Recovery(world.main, Telemetry(Counters(), "supervisor", strategy_name), 1)
    recovery.add("worker", "w1", how="was told to stop", blame=False)
    assert recovery.run_once() is None
    again = world.started("w2")
    assert (again.cause, again.losses) == ("worker_lost", 0)


@pytest.mark.parametrize("strategy_name", ["lua"])
def test_who_holds_nothing_is_worth_an_audit_only_if_it_died(world: World, strategy_name: str) -> None:
    recovery = Recovery(world.main, Telemetry(Counters(), "supervisor", strategy_name), 3)
    waits = []
    for blame in (False, True):
        recovery.add("reaper", "r1", blame=blame)
        waits.append(recovery.waiting)
    assert waits == [False, True]
    assert recovery.run_once() is None


@pytest.mark.leaves_keys
@pytest.mark.parametrize("strategy_name", ["lua", "watch"])
def test_what_is_refused_for_one_keeps_back_no_other_s(world: World, strategy_name: str) -> None:
    world.ready("a")
    world.started("w1")
    world.redis.set(world.keys.of("held", "odd"), "odd")
    recovery = Recovery(world.main, Telemetry(Counters(), "supervisor", strategy_name), 3)
    recovery.add("worker", "odd", how="was killed")
    recovery.add("worker", "w1", how="was killed")
    assert recovery.run_once() is not None
    assert recovery.waiting
    assert world.started("w2").cause == "worker_lost"
    world.redis.delete(world.keys.of("held", "odd"))
    while (seconds := recovery.run_once()) is not None:
        time.sleep(seconds)
    assert not recovery.waiting
