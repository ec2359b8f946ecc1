"""If tasks are overdue because the process that was woken for them is gone, another process is woken."""

from __future__ import annotations

import time

import pytest
from support.world import TRANSACTIONAL, World

from dueq.core.clock import US
from dueq.core.maintenance.overdue import OverdueCheck
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import ReaperTelemetry

LEASE_S = 1.0


@pytest.fixture
def overdue_check(world: World) -> OverdueCheck:
    return OverdueCheck(world.actor(), ReaperTelemetry(Counters(), "reaper", world.strategy.name), lease=LEASE_S)


def wakeups(world: World, key: str) -> int:
    return int(world.redis.llen(key))


def nobody_hears(world: World) -> tuple[str, str]:
    """Wake-ups so far are gone, as if taken by processes that died; returns the dispatchers' and the workers' keys."""
    keys = world.keys.plain("wake"), world.keys.of("wakeup", "q")
    world.redis.delete(*keys)
    return keys


def let_it_be_late(world: World) -> None:
    """Let so much time pass, by the clock that the strategy goes by, that what is due now is overdue."""
    seconds = LEASE_S / 4 + 2 * world.resolution_us / US + 0.01
    if world.settings.strategy in TRANSACTIONAL:
        world.clock.ahead_us += round(seconds * US)
    else:
        time.sleep(seconds)


def test_a_task_that_is_overdue_wakes_a_dispatcher(world: World, overdue_check: OverdueCheck) -> None:
    world.schedule("a")
    wake, bell = nobody_hears(world)
    assert overdue_check.run_once() + LEASE_S / 4 + world.resolution_us / US < LEASE_S + 5, "in time to take over"
    assert (wakeups(world, wake), wakeups(world, bell)) == (0, 0), "it is not late yet"
    let_it_be_late(world)
    overdue_check.run_once()
    assert (wakeups(world, wake), wakeups(world, bell)) == (1, 0)


def test_a_task_that_is_ready_for_long_wakes_a_worker(world: World, overdue_check: OverdueCheck) -> None:
    world.ready("a")
    wake, bell = nobody_hears(world)
    overdue_check.run_once()
    assert (wakeups(world, wake), wakeups(world, bell)) == (0, 0)
    let_it_be_late(world)
    overdue_check.run_once()
    assert (wakeups(world, wake), wakeups(world, bell)) == (0, 1)


def test_nobody_is_woken_for_what_is_not_due_or_runs(world: World, overdue_check: OverdueCheck) -> None:
    world.schedule("later", delay_us=3600 * US)
    world.ready("running")
    world.started()
    wake, bell = nobody_hears(world)
    let_it_be_late(world)
    overdue_check.run_once()
    assert (wakeups(world, wake), wakeups(world, bell)) == (0, 0)
