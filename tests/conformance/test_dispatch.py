"""From SCHEDULED to READY: never early, in bounded steps, fairly, and each task exactly once."""

from __future__ import annotations

import threading
from collections import Counter

from support.waiting import wait_until
from support.world import World

from dueq.core.clock import US
from dueq.core.schema.bounds import MOST_TASKS
from dueq.core.store.strategy import Moved


def test_nothing_scheduled(world: World) -> None:
    result = world.strategy.dispatch(100)
    assert (result.moved, result.next_in) == ([], None)


def test_never_early_and_soon_after(world: World) -> None:
    delays = [40_000 + 7_000 * number for number in range(10)]
    for number, delay in enumerate(delays):
        world.schedule(f"t{number}", delay_us=delay)
    moved: list[Moved] = []

    def all_moved() -> bool:
        moved.extend(world.strategy.dispatch(100).moved)
        return len(moved) == len(delays)

    wait_until(all_moved)
    assert all(one.seconds >= 0 for one in moved)
    assert {one.id for one in moved} == {f"t{number}" for number in range(len(delays))}
    assert len(world.drain()) == len(delays)


def test_next_in_is_exact(world: World) -> None:
    world.schedule("far", delay_us=7200 * US, queue="other")
    world.schedule("near", delay_us=3600 * US)
    record = world.store.record("near")
    assert record is not None
    before = world.now_us()
    next_in = world.strategy.dispatch(100).next_in
    after = world.now_us()
    assert next_in is not None
    due_us = record.due_us + (-record.due_us % world.resolution_us if world.resolution_us else 0)
    assert due_us - after <= next_in * US <= due_us - before + 1


def test_a_step_is_bounded_and_says_that_there_is_more(world: World) -> None:
    world.schedule(*[f"t{number}" for number in range(250)])
    world.round_up()
    sizes, remaining = [], []
    for _ in range(5):
        result = world.strategy.dispatch(50)
        sizes.append(len(result.moved))
        remaining.append(result.next_in)
    assert sizes == [50] * 5
    assert remaining == [0, 0, 0, 0, None]


def test_a_step_is_bounded_over_many_queues(world: World) -> None:
    for number in range(30):
        world.schedule(*[f"t{number}-{copy}" for copy in range(5)], queue=f"q{number}")
    world.round_up()
    for _ in range(15):
        assert 0 < len(world.strategy.dispatch(10).moved) <= 15
    assert len(world.drain()) == 150


def test_a_huge_batch_is_done_in_bounded_steps(world: World) -> None:
    world.schedule(*[f"t{number}" for number in range(9000)])
    assert len(world.dispatch_all(world.strategy)) == 9000
    world.schedule(*[f"u{number}" for number in range(9000)])
    world.round_up()
    moved = 0
    more, ours = True, type(world.strategy).__module__.startswith("dueq.")
    while more:
        result = world.strategy.dispatch(1_000_000)
        assert len(result.moved) <= MOST_TASKS or not ours  # the steps of a third party's are its own
        moved += len(result.moved)
        more = result.next_in == 0
    assert moved == 9000
    taken = world.take("w1", want=1_000_000)
    assert taken.started is not None
    assert len(taken.held) == MOST_TASKS - 1
    world.wipe()


def test_a_backlog_does_not_hold_up_another_queue(world: World) -> None:
    world.schedule(*[f"t{number}" for number in range(1000)], queue="busy")
    world.schedule("a", queue="quiet")
    world.round_up()
    moved: list[str] = []
    for _ in range(3):
        moved += [one.queue for one in world.strategy.dispatch(50).moved]
    assert Counter(moved)["quiet"] == 1
    assert Counter(moved)["busy"] > 50


def test_a_backlog_of_many_queues_does_not_hold_up_another(world: World) -> None:
    """Of more queues than one step looks at, it looks at others each time, not at those that are due for longest."""
    for number in range(120):
        world.schedule(*[f"t{number}-{copy}" for copy in range(30)], queue=f"busy{number}")
    world.schedule("a", queue="quiet")
    world.round_up()
    steps = 1
    while "quiet" not in {one.queue for one in world.strategy.dispatch(50).moved}:
        steps += 1
    assert steps <= 50  # 72 would be needed for the others
    world.wipe()


def test_first_due_first_started(world: World) -> None:
    step_us = world.resolution_us or 1000  # what a strategy rounds to one due time, it may start in any order
    due = world.now_us() + 300_000  # all are scheduled by then: a past due time means now
    ids = [f"t{number}" for number in range(20)]
    for number, task_id in sorted(enumerate(ids), key=lambda pair: pair[1]):
        world.schedule(task_id, due_us=due + number * step_us)
    world.clock.ahead_us += 20 * world.resolution_us
    wait_until(lambda: world.strategy.dispatch(100).next_in is None)
    assert [record.id for record in world.drain()] == ids


def test_census_counts_and_finds_the_oldest(world: World) -> None:
    world.schedule("a", "b", delay_us=3600 * US)
    world.schedule("c", delay_us=60 * US)
    world.schedule("d", queue="ready")
    world.round_up()
    world.strategy.dispatch(100)
    mine, ready, unknown = world.strategy.census(["q", "ready", "unknown"])
    record = world.store.record("c")
    assert record is not None
    assert mine.scheduled == 3
    assert mine.oldest_due_us is not None
    assert 0 <= mine.oldest_due_us - record.due_us < 1.1 * US
    assert (ready.scheduled, ready.oldest_due_us) == (0, None)
    assert (unknown.scheduled, unknown.oldest_due_us) == (0, None)
    assert world.strategy.census([]) == []


def test_two_dispatchers_move_each_task_once(world: World) -> None:
    count = 5000
    world.schedule(*[f"t{number}" for number in range(count)])
    moved = [0, 0]
    barrier = threading.Barrier(2)

    def dispatch(at: int) -> None:
        strategy = world.actor().strategy
        barrier.wait(10)
        moved[at] = len(world.dispatch_all(strategy))

    threads = [threading.Thread(target=dispatch, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(moved) == count
    assert world.states() == {"scheduled": 0, "ready": count, "leased": 0, "dead": 0}
    taken: list[str] = []
    while (step := world.take("w1", want=1000)).started is not None:
        assert step.dropped == []
        taken += [step.started.id, *[record.id for record in step.held]]
    assert len(taken) == len(set(taken)) == count
    world.wipe()


def test_the_first_due_of_each_queue_is_known(world: World) -> None:
    assert world.strategy.first_due(["q", "other"]) == [None, None]
    world.schedule("later", delay_us=3600 * US)
    world.schedule("soon", delay_us=60 * US)
    record = world.store.record("soon")
    assert record is not None
    rounded = record.due_us + (-record.due_us % world.resolution_us if world.resolution_us else 0)
    assert world.strategy.first_due(["other", "q"]) == [None, rounded]
    [census] = world.strategy.census(["q"])
    assert census.oldest_due_us == rounded
