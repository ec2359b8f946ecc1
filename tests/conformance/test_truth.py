"""cancel and reschedule return True only if the task will not run as it stood, whatever its state."""

from __future__ import annotations

import pytest
from support.waiting import wait_until
from support.world import World

from dueq.core.clock import US
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.store.values import Loss, Outcome

HOUR_US = 3600 * US
STATES = ["scheduled", "ready", "held", "leased", "lost", "retrying", "dead", "done", "never"]


def bring(world: World, state: str, task_id: str = "a") -> Record | None:
    """A task in ``state``; if a worker has it, w1 does. Returns its claim if there is one."""
    if state == "never":
        return None
    if state == "scheduled":
        world.schedule(task_id, delay_us=HOUR_US)
        return None
    if state == "held":
        world.ready("before", task_id)
        step = world.take(want=2)
        assert step.started is not None
        assert step.started.id == "before"
        return step.held[0]
    world.ready(task_id)
    if state == "ready":
        return None
    claim = world.started()
    if state == "lost":
        world.store.give_back(Loss("w1", "worker_lost", 9))
    elif state != "leased":
        kinds = {
            "retrying": Outcome(claim, "retry", delay_us=HOUR_US),
            "dead": Outcome(claim, "dead"),
            "done": Outcome(claim, "ack"),
        }
        assert world.settle("w1", kinds[state]) == "done"
    return claim


def runs(world: World, task_id: str = "a") -> int:
    """How often the task starts if everything due is run now."""
    return sum(record.id == task_id for record in world.drain())


@pytest.mark.parametrize("state", STATES)
def test_cancel(world: World, state: str) -> None:
    claim = bring(world, state)
    before = world.store.record("a")
    expected = state in ("scheduled", "ready", "lost", "retrying")  # what a worker has may run at any moment
    assert world.store.cancel("a") is expected
    assert world.store.cancel("a") is False
    if expected:
        assert world.store.record("a") is None
        if claim is not None:
            assert world.take(want=0, start=claim).started is None
            assert world.settle("w1", Outcome(claim, "ack")) == "missing"
        assert world.store.producer_counts()["cancelled", "q"] == 1
        assert runs(world) == 0
    else:
        assert world.store.record("a") == before
        if state in ("held", "leased"):
            assert claim is not None
            assert world.settle("w1", Outcome(claim, "ack")) == "done"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_reschedule(world: World, state: str, direction: str) -> None:
    claim = bring(world, state)
    before = world.store.record("a")
    expected = state in ("scheduled", "ready", "lost", "retrying")  # what a worker has may run at any moment
    due = world.store.reschedule("a", HOUR_US if direction == "forward" else 0, relative=True)
    assert (due is not None) is expected
    if not expected:
        assert world.store.record("a") == before
        return
    assert before is not None
    record = world.store.record("a")
    assert record is not None
    assert (record.due_us, record.state, record.token) == (due, State.SCHEDULED, 0)
    if claim is not None:
        assert world.take(want=0, start=claim).started is None
    assert runs(world) == (0 if direction == "forward" else 1)
    if direction == "forward":
        assert world.states()["scheduled"] == 1
        assert world.store.reschedule("a", 0) is not None
        assert runs(world) == 1
    assert runs(world) == 0


def test_reschedule_to_the_past_means_now(world: World) -> None:
    bring(world, "scheduled")
    before = world.now_us()
    due = world.store.reschedule("a", 5)
    assert due is not None
    assert before <= due <= world.now_us()


@pytest.mark.parametrize("again", ["now", "later", "elsewhere"])
@pytest.mark.parametrize("dispatched", [True, False])
def test_an_id_used_again_after_a_cancel_in_ready(world: World, again: str, dispatched: bool) -> None:
    world.ready("a")
    assert world.store.cancel("a")
    queue = "other" if again == "elsewhere" else "q"
    delay = max(40_000, 5 * world.resolution_us) if again == "later" else 0
    [result] = world.schedule("a", queue=queue, delay_us=delay)
    assert result.existing == ""
    if dispatched:
        world.dispatch_all()
    step = world.take("w1", "q")  # meets the void entry
    assert step.dropped == []
    if again == "now":
        assert step.started is not None
    elif again == "later":
        assert step.started is None
        wait_until(world.dispatch_all)
        step = world.take("w1", "q")
    else:
        assert step.started is None  # a worker of q must not get another queue's task
        world.dispatch_all()
        step = world.take("w1", "other")
    assert step.started is not None
    assert (step.started.starts, step.started.queue) == (1, queue)
    assert world.settle("w1", Outcome(step.started, "ack")) == "done"
    world.dispatch_all()
    last = world.take("w2", "q", "other")
    assert (last.started, last.dropped) == (None, [])
    assert world.leftovers() == []


@pytest.mark.parametrize("dispatched", [True, False])
def test_rescheduled_in_ready_many_times_runs_once(world: World, dispatched: bool) -> None:
    world.ready("a")
    for _ in range(3):
        assert world.store.reschedule("a", 0, relative=True)
        if dispatched:
            world.dispatch_all()
    started, dropped = [], []
    for _ in range(6):
        step = world.take()
        dropped += step.dropped
        if step.started is not None:
            started.append(step.started)
            assert world.settle("w1", Outcome(step.started, "ack")) == "done"
        world.dispatch_all()
    assert [record.starts for record in started] == [1]
    assert dropped == []
    assert world.leftovers() == []


def test_a_retry_after_a_void_entry_started_it_is_not_early(world: World) -> None:
    world.ready("a")
    assert world.store.reschedule("a", 0, relative=True)
    claim = world.started()  # by the void entry; the index has the other
    assert world.settle("w1", Outcome(claim, "retry", delay_us=HOUR_US)) == "done"
    world.dispatch_all()
    assert world.take().started is None
    assert world.states() == {"scheduled": 1, "ready": 0, "leased": 0, "dead": 0}
    assert world.store.cancel("a")
    assert world.leftovers() == []


def test_a_real_double_dispatch_is_told(world: World) -> None:
    world.ready("a")
    claim = world.started()
    world.redis.lpush(world.keys.of("ready", "q"), "a")  # as a broken strategy would
    assert world.take("w2").dropped == ["q"]
    assert world.store.record("a") == claim
