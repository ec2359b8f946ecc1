"""A step for many short tasks: what waits for it, for how long, and what is known of it without the worker's memory."""

from __future__ import annotations

import time

import pytest
from support.hired import WORKER, Hired
from support.waiting import wait_until
from support.world import SCRIPTED, World

from dueq.core.app.context import rescheduled_itself
from dueq.core.clock import US
from dueq.core.store.values import Loss, Outcome
from dueq.core.worker.outcomes import MOST_PUT_OFF, MOST_UNDER_WAY


def _steps(world: World) -> int:
    return int(world.redis.info("commandstats")["cmdstat_evalsha"]["calls"])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_short_tasks_need_a_step_for_many_of_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dueq.core.worker.outcomes.PUT_OFF_S", 60.0)  # however slow this machine is
    world.ready(*[f"t{number}" for number in range(120)])
    worker = Hired(world.actor(), prefetch=32, many=True)
    before = _steps(world)
    for _ in range(120):
        assert worker.turn() is not None
        assert worker.pipeline._outcomes.waiting < MOST_PUT_OFF
        assert sum(sent.settles for sent in worker.pipeline._sent) <= MOST_UNDER_WAY
    assert _steps(world) - before <= 120 / MOST_PUT_OFF + 120 / 16 + 2
    worker.leave()
    assert worker.done == 120


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_a_task_that_has_waited_begins_with_a_whole_lease(world: World) -> None:
    """Its lease has run since it was taken; the lease extender relies on most of it."""

    def ends_us(task_id: str) -> float:
        return float(world.redis.zscore(world.keys.plain("leased"), f"q:{task_id}") or 0.0)

    world.ready("a", "b", "c", "d")
    worker = Hired(world.actor(), prefetch=4, lease=6.0, many=True)
    assert [worker.begin().id, worker.begin().id] == ["a", "b"]
    assert ends_us("b") == ends_us("c") == ends_us("d")
    time.sleep(1.1)
    before = world.now_us()
    third = worker.begin()
    assert (third.id, third.starts) == ("c", 1)
    assert ends_us("c") >= before + 6.0 * US
    worker.turns()
    worker.leave()
    assert (worker.done, worker.duplicates) == (4, 0)


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_no_lease_runs_out_behind_tasks_that_turn_out_longer(world: World) -> None:
    """None of them is so long that the lease extender would notice."""
    lease, count = 2.0, 40
    world.ready(*[f"t{number}" for number in range(count)])
    worker = Hired(world.actor(), prefetch=32, lease=lease, many=True)
    while len(worker.starts) < count:
        worker.begin()
        time.sleep(0.08)
        assert world.store.reap(100, round(lease * US), 99).lost == []
    worker.turns()
    worker.leave()
    assert all([claim.starts for claim in claims] == [1] for claims in worker.starts.values())
    assert (worker.done, worker.duplicates) == (count, 0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
@pytest.mark.parametrize("how", ["late", "retry", "rescheduled itself"])
def test_not_every_outcome_waits_for_others(world: World, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """None waits for long, nor one that somebody waits for."""
    monkeypatch.setattr("dueq.core.worker.outcomes.PUT_OFF_S", 0.05 if how == "late" else 60.0)
    world.ready(*[f"t{number}" for number in range(30)])
    worker = Hired(world.actor(), prefetch=30, many=True)
    for _ in range(2):
        worker.begin()
    third = worker.begin()
    assert worker.pipeline._outcomes.put_off
    if how == "late":
        time.sleep(0.06)
    elif how == "retry":
        worker._outcome = Outcome(third, "retry", delay_us=60 * US)
    else:
        rescheduled_itself.add(third.token)
    assert worker.turn() is not None
    assert not worker.pipeline._outcomes.waiting
    wait_until(lambda: all(world.store.record(f"t{number}") is None for number in range(2)))
    worker.leave()


@pytest.mark.parametrize("lost_how", ["lease_expired", "worker_lost"])
def test_who_has_not_the_workers_memory_counts_all_that_it_had_taken(world: World, lost_how: str) -> None:
    """Some of them may have run: each is counted, and reads why it starts. What the worker did not take is not."""
    world.ready("a", "b", "c", "d")
    step = world.take(WORKER, want=3, lease_us=1, start_all=True)
    assert [claim.starts for claim in (step.started, *step.held) if claim] == [1, 1, 1]
    if lost_how == "lease_expired":
        lost = world.store.reap(100, 1, 99).lost
    else:
        lost = world.store.give_back(Loss(WORKER, "worker_lost", 99))
    assert {one.id: one.how for one in lost} == dict.fromkeys("abc", "started")
    again = {record.id: (record.starts, record.cause) for record in world.drain()}
    assert again == {"a": (2, lost_how), "b": (2, lost_how), "c": (2, lost_how), "d": (1, "")}
