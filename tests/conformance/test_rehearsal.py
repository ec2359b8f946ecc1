"""A moment before a task is due, idle workers of its queue are woken once. Nothing else changes; nothing is early."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from support.waiting import wait_until
from support.world import LEASE_US, World

from dueq.core.client.listener import Listener
from dueq.core.clock import US
from dueq.core.dispatcher.dispatcher import Dispatcher
from dueq.core.process.stop import Stop
from dueq.core.store.strategy import Moved
from dueq.core.store.values import Step
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import DispatcherTelemetry

HOUR_US = 3600 * US
TRIES = 5


@contextmanager
def listeners(world: World, count: int, queue: str = "q") -> Iterator[list[Listener]]:
    """Idle workers of ``queue``, asleep."""
    idle = [world.listener(queue) for _ in range(count)]
    try:
        assert not any(one.wait(0) for one in idle)
        yield idle
    finally:
        for one in idle:
            one.close()


def woken(idle: list[Listener], seconds: float = 0.3) -> int:
    """How many are woken within about ``seconds``."""
    until = time.monotonic() + seconds
    return sum(one.wait(max(0.0, until - time.monotonic())) for one in idle)


class Lateness(DispatcherTelemetry):
    """Keeps how late each task was, in seconds."""

    def __init__(self, strategy: str) -> None:
        super().__init__(Counters(), "dispatcher", strategy)
        self.late: list[float] = []

    def moved(self, moved: Iterable[Moved], now_us: int) -> None:
        self.late += [one.seconds for one in moved]


@contextmanager
def dispatching(world: World, count: int) -> Iterator[list[float]]:
    """Dispatchers, each in a thread of its own; yields how late each task was."""
    stop, telemetry = Stop(), Lateness(world.strategy.name)
    threads = [
        threading.Thread(target=Dispatcher(world.actor(), telemetry, stop=stop).run, daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield telemetry.late
    finally:
        stop.request()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        stop.close()


@pytest.fixture
def scripted(world: World) -> World:
    if not world.scripted:
        pytest.skip("without scripts a worker's look costs more than this would save")
    return world


@pytest.fixture
def ours(world: World) -> World:
    if not type(world.strategy).__module__.startswith("dueq."):
        pytest.skip("a strategy need not name the queue of the next task")
    return world


def test_every_idle_worker_of_the_queue_is_woken_once(scripted: World) -> None:
    with listeners(scripted, 3) as idle, listeners(scripted, 1, "another") as others:
        scripted.store.rehearse("q", HOUR_US)
        assert (woken(idle), woken(others, 0.1)) == (3, 0)
        scripted.take("w1")  # the first that finds nothing drops the wake-ups that nobody waited for
        assert not scripted.store.busy()
        scripted.actor().store.rehearse("q", HOUR_US)
        assert woken(idle, 0.1) == 0, "another dispatcher has woken them for this due time"
        scripted.store.rehearse("q", HOUR_US + 1)
        assert woken(idle) == 3
    scripted.take("w1")


def test_a_worker_that_is_woken_takes_nothing_and_sleeps_again(scripted: World) -> None:
    scripted.schedule("a", due_us=scripted.now_us() + HOUR_US)
    channel = scripted.store.channel(["q"])
    step = Step("w1", ["q"], LEASE_US, want=10)
    replies = []

    def sleep() -> None:
        if channel.sleep(step, 10.0) == "sent":
            replies.append(channel.receive())

    for rehearsed in range(2):
        thread = threading.Thread(target=sleep)
        thread.start()
        wait_until(lambda: int(scripted.redis.info("clients")["blocked_clients"]) == 1, what="it is asleep")
        scripted.store.rehearse("q", HOUR_US + rehearsed)
        thread.join(5)
        assert len(replies) == rehearsed + 1
    channel.close()
    assert all(reply.started is None and not reply.held for reply in replies)
    assert not scripted.dispatch_all()


def test_a_strategy_names_the_queue_of_the_next_task(ours: World) -> None:
    now_us = ours.now_us()
    ours.schedule("later", queue="one", due_us=now_us + 2 * HOUR_US)
    assert ours.strategy.dispatch(10).next_queue == "one"
    ours.schedule("sooner", queue="two", due_us=now_us + HOUR_US)
    assert ours.strategy.dispatch(10).next_queue == "two"
    ours.schedule("now", "too", queue="three")
    assert len(ours.dispatch_all()) == 2
    assert ours.strategy.dispatch(10).next_queue == "two"


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("count", [1, 3])
def test_before_a_due_time_workers_are_woken_and_the_task_is_not_early(scripted: World, count: int) -> None:
    """There are several tries: on a busy machine a dispatcher may wake only when the task is due, without rehearsal."""
    with dispatching(scripted, count) as late:
        assert any(rehearsed(scripted, f"t{number}", count, late) for number in range(TRIES))
    assert min(late) >= 0


def rehearsed(world: World, task: str, dispatchers: int, late: list[float]) -> bool:
    """Whether both idle workers were woken for ``task``: for one task alone, one is."""
    before = len(late)
    with listeners(world, 2) as idle:
        wait_until(lambda: int(world.redis.info("clients")["blocked_clients"]) >= 2 + dispatchers, what="all sleep")
        due_us = world.now_us() + US // 2
        due_us += -due_us % (world.resolution_us or 1)
        world.schedule(task, due_us=due_us)
        both = woken(idle, 3) == 2
        wait_until(lambda: len(late) > before)
    if both:
        assert int(world.redis.get(world.keys.plain("rehearsed")) or 0) == due_us
    assert world.take("w1").started is not None
    return both
