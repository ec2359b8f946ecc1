"""A slow or stalled link makes tasks late by no more than its own delay, since a dispatcher counts from its request.

Lateness is from due to leased, by Redis's clock. The best of several runs counts, since other work of the machine only
makes it worse.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.slow_link import Link, slow
from support.waiting import wait_until
from support.world import LEASE_US, World

from dueq.core.clock import US
from dueq.core.dispatcher.dispatcher import Dispatcher
from dueq.core.namespace import Namespace
from dueq.core.process.stop import Stop
from dueq.core.store.values import Step
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import DispatcherTelemetry

pytestmark = [pytest.mark.alone, pytest.mark.leaves_keys]

WAY_S = 0.020
RUNS = 3
TASKS = 100
GAP_US = 60_000  # longer than a trip over the link: else the dispatcher has no time to sleep
LONG_GAP_US = 400_000  # long enough for a rehearsal


@contextmanager
def engine(world: World, link: Link) -> Iterator[list[float]]:
    """A dispatcher and a worker over the link; yields how late each task was leased, in seconds."""
    late: list[float] = []
    stop = Stop()
    space = [world.adopt(Namespace.open(replace(world.settings, redis_url=link.url))) for _ in range(2)]
    dispatcher = Dispatcher(space[0], DispatcherTelemetry(Counters(), "dispatcher", world.strategy.name), stop=stop)

    def work() -> None:
        channel = space[1].store.channel(["q"], stop.fileno())
        while not stop.requested:
            if channel.sleep(Step("w1", ["q"], LEASE_US, want=10), 30.0) == "sent":
                step = channel.receive()
                late.extend((step.now_us - claim.due_us) / US for claim in (step.started, *step.held) if claim)
        channel.close()

    threads = [threading.Thread(target=target, daemon=True) for target in (dispatcher.run, work)]
    for thread in threads:
        thread.start()
    try:
        yield late
    finally:
        stop.request()
        for thread in threads:
            thread.join(10)
        stop.close()


def schedule(world: World, count: int, after_us: int = US // 2, gap_us: int = GAP_US) -> None:
    first_us = world.now_us() + after_us
    for number in range(count):
        world.schedule(f"t{number}", due_us=first_us + number * gap_us)


def best(world: World, run: Callable[[], bool]) -> bool:
    """Whether one of some runs is as it should be."""
    for _ in range(RUNS):
        if run():
            return True
        world.wipe()
    return False


@pytest.mark.parametrize("strategy_name", ["lua"])
@pytest.mark.parametrize("way_s", [WAY_S / 4, WAY_S])
def test_over_a_long_way_tasks_are_late_by_no_more_than_the_way(world: World, tmp_path: Path, way_s: float) -> None:
    def run() -> bool:
        with engine(world, link) as late:
            schedule(world, TASKS)
            wait_until(lambda: len(late) >= TASKS, 30)
        times = sorted(late)
        p50, p99 = times[TASKS // 2], times[TASKS * 99 // 100 - 1]
        print(f"{way_s * 1000:.0f} ms each way: leased p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms late")
        assert times[0] >= 0
        return p50 <= way_s / 2 and p50 <= WAY_S / 4 and p99 <= WAY_S + 0.003

    with slow(world.settings.redis_url or "", tmp_path, there_s=way_s, back_s=way_s) as link:
        assert best(world, run)


@pytest.mark.parametrize("strategy_name", ["lua"])
def test_a_rehearsal_over_a_long_way_makes_no_task_late(world: World, tmp_path: Path) -> None:
    tasks = 10

    def run() -> bool:
        with engine(world, link) as late:
            schedule(world, tasks, gap_us=LONG_GAP_US)
            wait_until(lambda: len(late) >= tasks, 30)
        p50 = sorted(late)[tasks // 2]
        print(f"{WAY_S * 1000:.0f} ms each way, with rehearsals: leased p50 {1000 * p50:.2f} ms late")
        assert min(late) >= 0
        return p50 <= WAY_S / 4 and world.redis.exists(world.keys.plain("rehearsed")) == 1

    with slow(world.settings.redis_url or "", tmp_path, there_s=WAY_S, back_s=WAY_S) as link:
        assert best(world, run)


@pytest.mark.parametrize("strategy_name", ["lua"])
def test_replies_that_are_slower_than_requests_make_nobody_late(world: World, tmp_path: Path) -> None:
    def run() -> bool:
        with engine(world, link) as late:
            schedule(world, TASKS // 2)
            wait_until(lambda: len(late) >= TASKS // 2, 30)
        p50 = sorted(late)[TASKS // 4]
        print(f"replies 40 ms slower than requests: leased p50 {1000 * p50:.2f} ms late")
        return p50 <= WAY_S / 8

    with slow(world.settings.redis_url or "", tmp_path, back_s=2 * WAY_S) as link:
        assert best(world, run)


@pytest.mark.parametrize("strategy_name", ["lua", "keyspace", "watch"])
def test_an_answer_that_stalls_makes_no_task_late(world: World, tmp_path: Path) -> None:
    stalled_s = 0.4

    def run() -> bool:
        with engine(world, link) as late:
            time.sleep(0.3)  # both are asleep
            link.stall(0.0, stalled_s)  # it is woken at once, but the answer to what it asks then comes late
            schedule(world, 1, US)
            wait_until(lambda: len(late) == 1, 10)
        print(f"{world.strategy.name}: an answer stalls for {stalled_s:.1f} s: leased {1000 * late[0]:.2f} ms late")
        return late[0] <= stalled_s / 20

    with slow(world.settings.redis_url or "", tmp_path) as link:
        assert best(world, run)
