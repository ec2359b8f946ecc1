"""Sleeping until the next due time: awake at once when needed, else silent."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError, TimeoutError
from support.waiting import wait_until
from support.world import World

from dueq.core.clock import US
from dueq.core.store.strategy import WakeReason
from dueq.core.store.values import Outcome
from dueq.strategies.base import Doorbell, Listener

HOUR_US = 3600 * US


class Sleeper:
    """A dispatcher that sleeps, in a thread."""

    def __init__(self, world: World, seconds: float = 10.0) -> None:
        self.world, self.seconds = world, seconds
        self.strategy = world.actor().strategy
        self.reason: WakeReason | None = None
        self.woke_at: float | None = None
        self._thread = threading.Thread(target=self._sleep, daemon=True)

    def __enter__(self) -> Sleeper:
        self.strategy.wait(0)  # the connection is there before the clock runs
        self._thread.start()
        wait_until(lambda: blocked(self.world) >= 1, what="the sleeper blocks in the server")
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(self.seconds + 5)
        self.strategy.close()

    def _sleep(self) -> None:
        self.reason = self.strategy.wait(self.seconds)
        self.woke_at = time.monotonic()

    def woken_after(self, action: Callable[[], object]) -> float:
        """How long after ``action`` began the sleeper awoke."""
        began = time.monotonic()
        action()
        self._thread.join(self.seconds + 5)
        assert self.woke_at is not None
        return self.woke_at - began


def blocked(world: World) -> int:
    return int(world.redis.info("clients")["blocked_clients"])


def hush(world: World) -> None:
    """Take the wake-up that is waiting, and withdraw, so that the next goes to somebody else."""
    while world.strategy.wait(0.05):
        pass
    world.strategy.close()


def calls(world: World) -> int:
    """Commands that the server has executed, without those that ask."""
    stats = world.redis.info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name != "cmdstat_info")


def test_a_wait_is_precise(world: World) -> None:
    world.strategy.wait(0)
    overshoots = []
    for _ in range(9):
        began = time.monotonic()
        assert world.strategy.wait(0.03) is None
        overshoots.append(time.monotonic() - began - 0.03)
    assert min(overshoots) >= -0.001
    assert statistics.median(overshoots) < 0.008


def test_an_earlier_task_wakes_at_once(world: World) -> None:
    world.schedule("far", delay_us=HOUR_US)
    hush(world)
    took = []
    for number in range(7):
        with Sleeper(world) as sleeper:

            def earlier(number: int = number) -> None:
                world.schedule(f"t{number}", delay_us=HOUR_US - (number + 1) * US)

            took.append(sleeper.woken_after(earlier))
        assert sleeper.reason in ("earlier", "event")
    assert statistics.median(took) < 0.05, took


@pytest.mark.parametrize("how", ["retry", "reschedule", "revive"])
def test_whatever_makes_a_task_due_earlier_wakes(world: World, how: str) -> None:
    world.ready("a", "b")
    claim = world.started()
    dead = world.started("w2")
    assert world.settle("w2", Outcome(dead, "dead", reason="x")) == "done"
    world.schedule("c", delay_us=HOUR_US)
    hush(world)
    actions: dict[str, Callable[[], object]] = {
        "retry": lambda: world.settle("w1", Outcome(claim, "retry", delay_us=US)),
        "reschedule": lambda: world.store.reschedule("c", US, relative=True),
        "revive": lambda: world.store.revive([dead.id]),
    }
    with Sleeper(world) as sleeper:
        assert sleeper.woken_after(actions[how]) < 1


def test_a_far_task_does_not_wake(world: World) -> None:
    world.schedule("near", delay_us=HOUR_US)
    hush(world)
    with Sleeper(world, 0.3) as sleeper:
        assert sleeper.woken_after(lambda: world.schedule("far", delay_us=2 * HOUR_US)) >= 0.25
    assert sleeper.reason is None


def test_a_task_scheduled_between_dispatch_and_wait_is_not_missed(world: World) -> None:
    assert world.strategy.dispatch(100).next_in is None
    world.schedule("a")
    assert world.strategy.wait(5) in ("earlier", "event")
    assert len(world.dispatch_all()) == 1


def test_a_wakeup_during_the_work_of_a_dispatcher_is_not_missed(world: World) -> None:
    assert world.strategy.wait(0.01) is None  # its request stays open
    world.schedule("a")
    assert world.dispatch_all()
    world.schedule("b", delay_us=HOUR_US)
    assert world.strategy.wait(5) in ("earlier", "event")


def test_nothing_is_sent_while_asleep(world: World) -> None:
    world.schedule("far", delay_us=HOUR_US)
    hush(world)
    with Sleeper(world, 2.0):
        world.strategy.wait(0)  # it has connected, and asked what it must know
        before = calls(world)
        assert world.strategy.wait(2.0) is None
        assert calls(world) - before <= 2


def test_a_wakeup_descriptor_ends_the_wait(world: World) -> None:
    read, write = os.pipe()
    try:
        timer = threading.Timer(0.05, os.write, (write, b"x"))
        timer.start()
        began = time.monotonic()
        assert world.strategy.wait(10, wakeup_fd=read) is None
        assert time.monotonic() - began < 5
        timer.join()
    finally:
        world.strategy.close()
        os.close(read)
        os.close(write)


def test_woken_again_after_the_connection_broke(world: World) -> None:
    assert world.strategy.wait(0.01) is None
    world.redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises((ConnectionError, TimeoutError)):
        world.strategy.wait(5)
    world.schedule("a", store=world.actor().store)
    assert world.strategy.wait(5) in ("earlier", "event")
    # and a closed one opens another
    world.strategy.close()
    world.actor().store.reschedule("a", HOUR_US, relative=True)
    hush(world)
    with Sleeper(world) as sleeper:
        assert sleeper.woken_after(lambda: world.schedule("b", store=world.actor().store)) < 1


def test_the_older_names_of_a_listener_still_work(world: World) -> None:
    strategy = world.actor().strategy
    assert Doorbell is Listener
    assert strategy.doorbell() is strategy.listener()
