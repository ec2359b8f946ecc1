"""A dispatcher asks a little before a task is due: no task is early because of that, and few requests are wasted."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from support.waiting import wait_until
from support.world import World

from dueq.core.clock import US
from dueq.core.dispatcher.dispatcher import Dispatcher
from dueq.core.process.stop import Stop
from dueq.core.store.strategy import Moved
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import DispatcherTelemetry


class Recorder(DispatcherTelemetry):
    """Keeps how late each task was, in seconds, and counts what is told."""

    def __init__(self, strategy: str) -> None:
        super().__init__(Counters(), "dispatcher", strategy)
        self.late: list[float] = []
        self.questions = self.wakeups = 0

    def moved(self, moved: Iterable[Moved], now_us: int) -> None:
        self.questions += 1
        self.late += [one.seconds for one in moved]

    def woke(self, reason: str) -> None:
        self.wakeups += 1


@contextmanager
def dispatchers(world: World, count: int = 1) -> Iterator[list[Recorder]]:
    """So many, each in a thread of its own."""
    recorders = [Recorder(world.strategy.name) for _ in range(count)]
    stops = [Stop() for _ in recorders]
    threads = [
        threading.Thread(target=Dispatcher(world.actor(), recorder, stop=stop).run, daemon=True)
        for recorder, stop in zip(recorders, stops, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield recorders
    finally:
        for stop in stops:
            stop.request()
        for thread, stop in zip(threads, stops, strict=True):
            thread.join(10)
            assert not thread.is_alive()
            stop.close()


def schedule(world: World, count: int, gap_us: int) -> None:
    """Schedule ``count`` tasks, each due ``gap_us`` after the one before."""
    first_us = world.now_us() + US // 5
    for number in range(count):
        world.schedule(f"t{number}", due_us=first_us + number * gap_us)


def wait_for(recorders: list[Recorder], tasks: int) -> None:
    wait_until(lambda: sum(len(recorder.late) for recorder in recorders) >= tasks, 20, what=f"{tasks} tasks are moved")


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_is_early_and_few_questions_are_in_vain(world: World, count: int) -> None:
    tasks, gap_us = (3, US) if world.resolution_us else (50, US // 100)
    with dispatchers(world, count) as recorders:
        schedule(world, tasks, gap_us)
        wait_for(recorders, tasks)
    late = [seconds for recorder in recorders for seconds in recorder.late]
    questions, wakeups = (sum(getattr(one, name) for one in recorders) for name in ("questions", "wakeups"))
    print(f"{world.strategy.name}: {questions} questions of {count}, {wakeups} wake-ups for {tasks} tasks")
    assert min(late) >= 0
    assert len(late) == tasks
    assert wakeups <= questions <= 4 * count * tasks


def test_tasks_in_quick_succession_are_not_asked_for_ahead(world: World) -> None:
    if world.resolution_us:
        pytest.skip("they are due at the same time")
    tasks = 300
    schedule(world, tasks, US // 1000)
    with dispatchers(world) as [recorder]:
        wait_for([recorder], tasks)
    print(f"{world.strategy.name}: {recorder.questions} questions for {tasks} tasks")
    assert recorder.questions <= 1.5 * tasks
