"""Workers of more queues than one step can name take tasks, in turns or in order, from the queues that have work."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from support.queues import notes_at_fault
from support.world import LEASE_US, World

from dueq.admin.housekeeping import purge
from dueq.core.client.listener import Listener
from dueq.core.schema.bounds import MOST_TASKS
from dueq.core.store.crowds import Crowd, served
from dueq.core.store.values import Loss, Outcome, Step

QUEUES = [f"q{number:03}" for number in range(300)]
AT_ONCE_S = 5.0


@pytest.fixture(autouse=True)
def forgotten(world: World) -> Iterator[None]:
    """The set stays for an hour, with its wake-ups, for workers to come; here none does."""
    yield
    for key in world.found():
        if b"}:serves:" in key or b"}:bell:*" in key:
            world.redis.delete(key)


def crowd(queues: Sequence[str] = QUEUES, *, in_turns: bool = True) -> Crowd:
    found = served(queues, in_turns=in_turns)
    assert isinstance(found, Crowd)
    return found


def take(world: World, queues: Sequence[str], want: int = 1) -> list[str]:
    """The queues of the tasks that were taken; they are done at once."""
    world._workers.add("w1")
    step = world.store.advance(Step("w1", queues, LEASE_US, want=want))
    claims = [claim for claim in (step.started, *step.held) if claim is not None]
    for claim in claims:
        assert world.settle("w1", Outcome(claim, "ack")) == "done"
    return [claim.queue for claim in claims]


@contextmanager
def listening(world: World, queues: Crowd) -> Iterator[Listener]:
    listener = Listener(world.main.client, [world.keys.of("wakeup", queues.wakeup)])
    try:
        yield listener
    finally:
        listener.close()


def rung(world: World, queues: Crowd) -> bool:
    """Whether these queues have had a wake-up, which is taken by that."""
    with listening(world, queues) as listener:
        return listener.wait(AT_ONCE_S if world.redis.exists(world.keys.of("wakeup", queues.wakeup)) else 0.01)


def scripted(world: World) -> None:
    if not world.scripted:
        pytest.skip("without scripts a worker names all its queues")


def test_few_queues_are_named_as_ever() -> None:
    assert not isinstance(served(QUEUES[:16], in_turns=True), Crowd)
    assert crowd(QUEUES[::-1]).mark == crowd().mark, "all workers in turns share one set"
    marks = {crowd().mark, crowd(in_turns=False).mark, crowd(QUEUES[::-1], in_turns=False).mark, crowd(QUEUES[1:]).mark}
    assert len(marks) == 4


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("in_turns", [True, False])
def test_a_full_redis_is_emptied_although_very_many_queues_have_work(world: World, in_turns: bool, kept: bool) -> None:
    """Of that many, the worker's own are looked for by a write, and nothing has freed memory before it. The set may be
    gone, too: it is kept for an hour only."""
    scripted(world)
    for number in range(2 * MOST_TASKS):
        world.ready(f"o{number}", queue=f"other{number}")
        world.ready(f"t{number}", queue=QUEUES[number])
    queues = crowd(in_turns=in_turns)
    if kept:
        assert take(world, queues)
    world.redis.config_set("maxmemory", "1")
    try:
        for _ in range(20):
            assert take(world, queues)
    finally:
        world.redis.config_set("maxmemory", "0")


@pytest.mark.parametrize("in_turns", [True, False])
def test_each_task_is_found_and_no_other_queue_is_served(world: World, in_turns: bool) -> None:
    world.ready("foreign", queue="foreign")
    for number in range(0, 300, 7):
        world.ready(f"t{number}", queue=QUEUES[number])
    queues, found = crowd(in_turns=in_turns), list[str]()
    while some := take(world, queues, want=3):
        found += some
    assert sorted(found) == QUEUES[::7]
    assert notes_at_fault(world, [*QUEUES, "foreign"]) == []


def test_the_order_of_preference_is_kept(world: World) -> None:
    queues = crowd(QUEUES[::-1], in_turns=False)
    world.ready("a", "b", "c", queue=QUEUES[10])
    world.ready("d", queue=QUEUES[200])
    world.ready("e", queue=QUEUES[100])
    assert take(world, queues, want=4) == [QUEUES[200], QUEUES[100], QUEUES[10], QUEUES[10]]
    world.ready("f", queue=QUEUES[299])
    assert take(world, queues) == [QUEUES[299]]


def test_each_queue_has_its_turn(world: World) -> None:
    scripted(world)
    for name in QUEUES[:5]:
        world.ready(*[f"{name}-{number}" for number in range(60)], queue=name)
    queues = crowd()
    counts = Counter(queue for _ in range(100) for queue in take(world, queues))
    assert len(counts) == 5
    assert max(counts.values()) < 60


@pytest.mark.parametrize("in_turns", [True, False])
def test_a_few_are_found_among_many_that_are_not_served(world: World, in_turns: bool) -> None:
    """More than are looked at one by one."""
    scripted(world)
    for number in range(250):
        world.ready(f"foreign{number}", queue=f"foreign{number}")
    world.ready("a", queue=QUEUES[250])
    world.ready("b", queue=QUEUES[50])
    found = [queue for _ in range(2) for queue in take(world, crowd(in_turns=in_turns))]
    assert (sorted(found) if in_turns else found) == [QUEUES[50], QUEUES[250]]
    assert world.redis.exists(world.keys.plain("chosen")) == 0


def test_whatever_becomes_ready_wakes_such_a_worker(world: World) -> None:
    scripted(world)
    queues = crowd()
    assert take(world, queues) == []
    world.ready("foreign", queue="foreign")
    assert not rung(world, queues)
    world.ready("a", "b", queue=QUEUES[7])
    assert rung(world, queues)
    assert take(world, queues) == [QUEUES[7]]
    assert rung(world, queues), "for what is left"
    world.ready("c", queue=QUEUES[8])
    assert sorted(take(world, queues, want=5)) == QUEUES[7:9]
    assert not rung(world, queues), "nothing is left"
    for how in ("release", "give_back"):
        world.ready(how, queue=QUEUES[9])
        step = world.take("w2", QUEUES[1], QUEUES[9], want=2)
        assert step.started is not None
        while rung(world, queues):
            pass
        world.store.give_back(Loss("w2", "worker_lost", 9))
        assert rung(world, queues)
        assert take(world, queues) == [QUEUES[9]]


def test_a_worker_that_leaves_wakes_another(world: World) -> None:
    scripted(world)
    queues = crowd()
    assert take(world, queues) == []
    world.ready("a", queue=QUEUES[7])
    assert rung(world, queues)
    world.store.wake_again(queues)
    assert rung(world, queues)


def test_a_sleeping_one_takes_the_task_as_it_becomes_ready(world: World) -> None:
    scripted(world)
    queues = crowd()
    world._workers.add("w1")
    channel = world.actor().store.channel(queues)
    assert channel.sleep(Step("w1", queues, LEASE_US, want=1), 20) == "quiet", "it has only just said what it serves"
    timer = threading.Timer(0.2, world.ready, ("a",), {"queue": QUEUES[77]})
    timer.start()
    assert channel.sleep(Step("w1", queues, LEASE_US, want=1), 20) == "sent"
    step = channel.receive()
    timer.join()
    assert step.started is not None
    assert step.started.queue == QUEUES[77]
    channel.close()


def test_lost_with_all_data_it_is_said_again_before_the_next_sleep(world: World) -> None:
    scripted(world)
    queues = crowd()
    channel = world.actor().store.channel(queues)
    assert channel.sleep(Step("w1", queues, LEASE_US, want=1), 1) == "quiet"
    world.wipe()
    world.ready("a", queue=QUEUES[3])
    channel.send(Step("w1", queues, LEASE_US))
    assert channel.receive().started is None, "nobody knows any more what it serves"
    assert channel.sleep(Step("w1", queues, LEASE_US, want=1), 20) == "quiet"
    channel.send(Step("w1", queues, LEASE_US))
    assert channel.receive().started is not None
    world._workers.add("w1")
    channel.close()


def test_a_set_that_nobody_uses_is_cleared_away(world: World) -> None:
    scripted(world)
    old, new = crowd(QUEUES[:100]), crowd()
    assert take(world, old) == []
    ttl = world.redis.ttl(world.keys.of("serves", old.name))
    assert 3500 < ttl <= 3600
    world.ready("a", queue=QUEUES[0])
    assert world.redis.exists(world.keys.of("wakeup", old.wakeup))
    world.redis.delete(world.keys.of("serves", old.name))  # an hour later
    assert take(world, new) == [QUEUES[0]]
    assert world.redis.hget(world.keys.plain("meta"), "crowds") == new.name.encode()
    assert not world.redis.exists(world.keys.of("wakeup", old.wakeup))


def test_a_set_whose_writer_stood_still_is_written_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had written is gone by then."""
    scripted(world)
    world.ready("a", queue=QUEUES[0])
    with monkeypatch.context() as late:
        late.setattr("dueq.core.store.crowds._UNFINISHED_S", 0)
        assert take(world, crowd()) == []
    assert take(world, crowd()) == [QUEUES[0]]


def test_purge_forgets_it(world: World) -> None:
    scripted(world)
    assert take(world, crowd()) == []
    world.ready("a", queue=QUEUES[0])
    purge(world.main)
    assert world.found() == []
