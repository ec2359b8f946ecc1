"""A ready task never waits while a worker that could run it sleeps."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.waiting import wait_until
from support.world import World

from dueq.core.client.listener import Listener, woken
from dueq.core.client.transactions import Transactions
from dueq.core.schema.wakeups import wake_workers
from dueq.core.store.values import Loss, Outcome

AT_ONCE_S = 2.0


@contextmanager
def listening(world: World, *queues: str) -> Iterator[Listener]:
    listener = world.listener(*queues)
    try:
        yield listener
    finally:
        listener.close()


@pytest.mark.parametrize(("workers", "tasks"), [(1, 1), (3, 2), (3, 5), (20, 100)])
def test_every_idle_worker_gets_busy(world: World, workers: int, tasks: int) -> None:
    """Each worker keeps the first task it gets, so that the others must be woken for the rest."""
    busy: list[str] = []
    finish = threading.Event()

    def work(at: int) -> None:
        store = world.actor().store
        with listening(world, "q") as listener:
            while not finish.is_set():
                step = world.take(f"w{at}", store=store)
                if step.started is not None:
                    busy.append(step.started.id)
                    finish.wait(20)
                    ended = world.take(f"w{at}", want=0, outcome=Outcome(step.started, "ack"), store=store)
                    assert ended.settled == "done"
                    return
                listener.wait(20)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(workers)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: int(world.redis.info("clients")["blocked_clients"]) == workers, what="all are asleep")
        world.ready(*[f"t{number}" for number in range(tasks)])
        wait_until(lambda: len(busy) == min(workers, tasks), what="enough are busy")
    finally:
        finish.set()
        Transactions(world.main.client).trip(wake_workers(world.keys, "q", workers))
        for thread in threads:
            thread.join(20)
    assert len(set(busy)) == len(busy)


def test_a_wakeup_for_one_queue_is_not_lost_on_a_worker_of_two(world: World) -> None:
    world.ready("a", queue="a")
    world.ready("b", queue="b")
    with listening(world, "b") as listener:
        assert listener.wait(AT_ONCE_S)  # the wake-up of b reaches a worker of both queues …
    assert world.started("w1", "a", "b").id == "a"  # … which prefers a
    with listening(world, "b") as listener:
        assert listener.wait(AT_ONCE_S)  # a worker of b alone must be told


def test_wakeups_that_nobody_receives_are_few(world: World) -> None:
    world.ready(*[f"t{number}" for number in range(40)])
    for _ in range(3):
        world.take("w1", want=5)
        world.store.give_back(Loss("w1", "worker_lost", 9))
    assert 0 < world.redis.llen(world.keys.of("wakeup", "q")) <= 16


def test_taking_and_settling_wake_no_dispatcher(world: World) -> None:
    world.ready("a", "b")
    world.redis.delete(world.keys.plain("wake"))
    claim = world.started()
    claim = world.take(outcome=Outcome(claim, "ack")).started or claim
    assert world.settle("w1", Outcome(claim, "ack")) == "done"
    assert world.redis.llen(world.keys.plain("wake")) == 0


@pytest.mark.parametrize("how", ["give_back", "release", "reap", "lost_before_taking"])
def test_what_comes_back_wakes_a_worker(world: World, how: str) -> None:
    world.ready("a", "b")
    if how == "lost_before_taking":
        with listening(world, "q") as listener:
            assert listener.wait(AT_ONCE_S)
            while listener.wait(0.05):
                pass
        assert world.store.give_back(Loss("w1", "worker_lost", 9)) == []  # it was woken, and died before it could take
    else:
        step = world.take(want=2, lease_us=1)
        with listening(world, "q") as listener:
            assert not listener.wait(0.02)
        wait_until(lambda: int(world.redis.info()["blocked_clients"]) == 0)  # else one that has left gets the wake-up
        if how == "give_back":
            world.store.give_back(Loss("w1", "worker_lost", 9))
        elif how == "release":
            assert world.store.release("w1", step.held) == 1
        else:
            assert world.store.reap(10, 1, 9).lost
    with listening(world, "q") as listener:
        assert listener.wait(AT_ONCE_S)


def test_a_wakeup_reaches_the_living_while_the_dead_are_still_connected(world: World) -> None:
    """A worker waits for a wake-up, and is killed before Redis comes to that: to Redis it lives when it is woken."""
    world.ready("a")
    server = int(world.redis.info()["process_id"])
    with listening(world, "q") as listener:
        assert listener.wait(AT_ONCE_S)
        os.kill(server, signal.SIGSTOP)
        supervisor = threading.Thread(target=lambda: world.store.give_back(Loss("w1", "worker_lost", 9)))
        try:
            assert not listener.wait(0.02)
            listener.close()
            supervisor.start()
            time.sleep(0.05)  # its request is behind the other now
        finally:
            os.kill(server, signal.SIGCONT)
        supervisor.join(20)
        assert listener.wait(AT_ONCE_S)


def test_what_a_dead_worker_was_woken_for_reaches_the_living_past_one_that_only_seems_to_wait(world: World) -> None:
    """To Redis the connection of the dead waits still, ahead of all others: the first wake-up goes to it."""
    world.ready("a")
    with listening(world, "q") as ghost, listening(world, "q") as living:
        while ghost.wait(0.05):
            pass
        assert not living.wait(0.05)
        wait_until(lambda: int(world.redis.info("clients")["blocked_clients"]) == 2)
        assert world.store.give_back(Loss("w1", "worker_lost", 9)) == []
        assert living.wait(AT_ONCE_S)


def test_a_worker_that_has_given_up_waiting_swallows_no_wakeup(world: World) -> None:
    with listening(world, "q") as first, listening(world, "q") as second:
        assert not woken(first, 0.05)
        world.ready("a")
        assert second.wait(AT_ONCE_S)


def test_void_entries_do_not_hide_a_task_behind_them(world: World) -> None:
    ids = [f"t{number}" for number in range(350)]
    world.ready(*ids, "real")
    for task_id in ids:
        assert world.store.cancel(task_id)
    for _ in range(10):
        step = world.take()
        if step.started is not None:
            break
        with listening(world, "q") as listener:
            assert listener.wait(AT_ONCE_S)
    else:
        raise AssertionError("never found")
    assert step.started.id == "real"


def test_no_wakeups_are_left_when_nothing_is_ready(world: World) -> None:
    world.ready(*[f"t{number}" for number in range(50)])
    assert world.take(want=50).held
    with listening(world, "q") as listener:
        assert not listener.wait(0.02)


def test_a_task_not_due_after_all_wakes_a_dispatcher(world: World) -> None:
    world.ready("a")
    assert world.store.reschedule("a", 3600_000_000, relative=True)
    while world.strategy.wait(0.05):
        pass
    # only the entry in READY is left, as if the clock had fallen behind
    world.strategy.clear(["q"])
    world.redis.hdel(world.keys.plain("revoked"), "a")
    assert world.take().started is None
    assert world.states()["scheduled"] == 1
    assert world.strategy.wait(AT_ONCE_S)
