"""Events that were missed, come late, or come to many at once."""

from __future__ import annotations

import threading
import time
from collections import Counter

from support.waiting import wait_until
from support.world import World

from dueq.core.namespace import Namespace
from dueq.strategies.base import WakeReason

from .conftest import IN_TIME_S, Make, next_lateness


class Racer(threading.Thread):
    """A dispatcher in a thread."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.namespace: Namespace = world.actor()
        self.moved: list[float] = []
        self.reasons: Counter[WakeReason | None] = Counter()
        self.conflicts = 0
        self.finish = False

    def run(self) -> None:
        strategy = self.namespace.strategy
        while not self.finish:
            result = strategy.dispatch(100)
            self.moved += [late for _, late in result.moved]
            self.conflicts += result.conflicts
            if result.next_in != 0:
                self.reasons[strategy.wait(0.2 if result.next_in is None else min(0.2, result.next_in))] += 1
        strategy.close()


def _race(world: World, racers: int, tasks: int, apart_us: int) -> list[Racer]:
    running = [Racer(world) for _ in range(racers)]
    for racer in running:
        racer.start()
    due = world.now_us() + 300_000
    for number in range(tasks):
        world.schedule(f"t{number}", due_us=due + number * apart_us)
    wait_until(lambda: sum(len(racer.moved) for racer in running) >= tasks, 20)
    time.sleep(0.1)
    for racer in running:
        racer.finish = True
        racer.join(5)
    return running


def test_one_of_many_wins_each_task(make: Make) -> None:
    world = make()
    for racers in (2, 8):
        running = _race(world, racers, 60, 10_000)
        assert sum(len(racer.moved) for racer in running) == 60
        assert sum(racer.reasons["event"] for racer in running) > 0
        taken = [world.take("w", "q").started for _ in range(61)]
        ids = [claim.id for claim in taken if claim is not None]
        assert sorted(ids) == sorted(f"t{number}" for number in range(60))
        world.store.give_back("w", "unstarted", 9)
        assert len(world.drain()) == 60


def test_who_loses_a_race_counts_a_conflict_and_who_is_alone_has_none(make: Make) -> None:
    world = make()
    [alone] = _race(world, 1, 40, 10_000)
    assert alone.conflicts == 0
    world.drain()
    assert sum(racer.conflicts for racer in _race(world, 4, 40, 10_000)) > 0
    world.drain()


def test_what_expired_while_nobody_listened_is_found(make: Make) -> None:
    world = make()
    world.schedule("a", "b", delay_us=30_000)
    time.sleep(0.1)
    for task_id in ("a", "b"):
        world.redis.exists(world.keys.of("alarm", f"q:{task_id}"))  # the event is sent, to nobody
    assert len(world.strategy.dispatch(100).moved) == 2
    world.drain()


def test_an_alarm_that_is_gone_does_not_matter(make: Make) -> None:
    world = make()
    world.schedule("a", delay_us=100_000)
    assert world.redis.delete(world.keys.of("alarm", "q:a")) == 1
    assert next_lateness(world) < IN_TIME_S
    world.drain()


def test_no_alarm_is_left(make: Make) -> None:
    world = make()
    world.schedule("a", "b", "c", delay_us=3600_000_000)
    assert world.store.cancel("a")
    assert world.store.reschedule("b", 0)
    world.strategy.clear(["q"])
    assert [key for key in world.redis.keys("*") if b":alarm:" in key or b":timer:" in key] == []


def test_a_storm_of_events_loses_nothing(make: Make) -> None:
    """More events at once than the server keeps for a subscriber: it is cut off, and the index has the tasks."""
    world = make("client-output-buffer-limit pubsub 32kb 8kb 1")
    count = 20_000
    racer = Racer(world)
    for first in range(0, count, 1000):
        world.schedule(*[f"t{number}" for number in range(first, first + 1000)], due_us=world.now_us() + 1_500_000)
    racer.start()
    wait_until(lambda: len(racer.moved) == count, 40)
    racer.finish = True
    racer.join(5)
    assert world.states()["ready"] == count
    world.wipe()
