"""An event starts a race that exactly one dispatcher wins; what woke it and what it lost is told truthfully."""

from __future__ import annotations

import time

import pytest
from support.waiting import wait_until
from support.world import World

from dueq.core.clock import US
from dueq.core.errors import ConfigurationError
from dueq.core.keys import Keys
from dueq.core.store.base import NewTask

from .conftest import IN_TIME_S, Make, Start

HOUR_US = 3600 * US
SETTLED_S = 0.2
"""Long enough for a dispatcher that was woken to have slept again."""


def _won_once_each(world: World, count: int) -> None:
    """Every task is in the ready list, and none is there twice."""
    assert world.states() == {"scheduled": 0, "ready": count, "leased": 0, "dead": 0}
    step = world.take("w", want=count)
    assert step.started is not None
    assert step.dropped == []
    assert len({step.started.id, *(record.id for record in step.held)}) == count


def _schedule(world: World, prefix: str, tasks: int, due_us: int, apart_us: int = 0) -> None:
    """At once, so that a busy machine does not take longer for it than until the first is due."""
    body = b'["f",[]]'
    world.store.schedule(
        [NewTask(f"{prefix}{number}", "q", due_us + number * apart_us, body, False) for number in range(tasks)]
    )


@pytest.mark.parametrize("count", [2, 8])
def test_one_of_many_wins_each_task(make: Make, start: Start, count: int) -> None:
    """Tasks due one by one, and as many due at one instant."""
    world = make()
    racers, tasks = start(world, count), 100
    due = world.now_us() + 300_000
    _schedule(world, "single", tasks, due, 5000)
    _schedule(world, "many", tasks, due + (tasks + 20) * 5000)
    racers.wait_for(2 * tasks)
    time.sleep(SETTLED_S)
    assert sum(racers.won) == 2 * tasks
    assert sum(won > 0 for won in racers.won) > 1, "they do race"
    assert min(racers.late) >= 0
    _won_once_each(world, 2 * tasks)
    # an idle machine wakes everybody for each of those due one by one; on a busy one several come together
    print(f"{count} dispatchers: won {racers.won}, woken {dict(racers.wakeups)}, {racers.conflicts} conflicts")
    assert racers.wakeups["event"] > tasks / 4
    assert 0 < racers.conflicts <= racers.wakeups["event"]


def test_one_alone_never_loses_a_race(make: Make, start: Start) -> None:
    """What it moved itself is no news to it, though Redis tells of that, too."""
    world = make()
    alone, tasks = start(world), 60
    due = world.now_us() + 200_000
    _schedule(world, "single", tasks, due, 10_000)
    # due at once: its poke lets some of them expire, and the moving all others
    _schedule(world, "many", 300, due + tasks * 10_000)
    alone.wait_for(tasks + 300)
    time.sleep(SETTLED_S)
    assert alone.conflicts == 0
    woken = alone.wakeups
    assert woken["safety_net"] == 0
    assert woken["event"] > tasks / 4
    assert woken["event"] + woken["due"] + woken["earlier"] <= 2 * tasks
    assert woken["earlier"] >= 1


def test_an_event_of_a_task_that_is_gone_is_a_lost_race(make: Make, start: Start) -> None:
    world = make()
    sleeper = start(world)
    alarm = world.keys.of("alarm", "q:cancelled")
    world.redis.set(alarm, "", px=20)
    time.sleep(0.05)
    assert world.redis.exists(alarm) == 0
    wait_until(lambda: sleeper.wakeups["event"] == 1)
    wait_until(lambda: sleeper.conflicts == 1)


def test_events_of_other_kinds_do_not_wake(make: Make, start: Start) -> None:
    """Somebody else wants all events there are: a dispatcher that sleeps is not to be woken by them."""
    world = make("notify-keyspace-events KEA")
    world.schedule("first", delay_us=HOUR_US)
    sleeper = start(world)
    time.sleep(SETTLED_S)
    before = sleeper.wakeups
    for number in range(50):
        world.schedule(f"t{number}", delay_us=2 * HOUR_US)
    for number in range(50):
        assert world.store.cancel(f"t{number}")
    time.sleep(SETTLED_S)
    assert sleeper.wakeups == before
    # and it still sleeps to the point
    world.schedule("soon", delay_us=50_000)
    sleeper.wait_for(1)
    assert sleeper.late[0] < IN_TIME_S


def test_events_of_others_do_not_wake(make: Make, start: Start) -> None:
    """Another namespace, another database, another application's keys."""
    world = make()
    url = world.settings.redis_url
    assert url is not None
    sleeper = start(world)
    others = [World(url, "event", "keyspace"), World(url, "events.", "keyspace")]
    others.append(World(url.replace("db=0", "db=1"), "events", "keyspace"))
    time.sleep(SETTLED_S)
    before = sleeper.wakeups
    for other in others:
        other.schedule("a", delay_us=10_000)
        time.sleep(0.03)
        assert len(other.dispatch_all()) == 1
        other.close()
    world.redis.set("session:1", "", px=1)
    time.sleep(0.01)
    world.redis.exists("session:1")
    time.sleep(SETTLED_S)
    assert sleeper.wakeups == before
    assert sleeper.conflicts == 0


def test_names_cannot_widen_the_pattern(make: Make, start: Start) -> None:
    for name in ("a*", "a?", "[ab]", "a\\", "a:b", "{a}"):
        with pytest.raises(ConfigurationError):
            Keys(name)
    world = make(name="A-z.0_9")
    sleeper = start(world)
    odd = ["*", "?[a]", "\\", "a:b:c", "{x}", "ready:q"]  # ids are not so bounded
    for number, task_id in enumerate(odd):
        world.schedule(task_id, delay_us=100_000 + number * 20_000)
    sleeper.wait_for(len(odd))
    time.sleep(SETTLED_S)
    assert sleeper.conflicts == 0, "its own events are known by these ids"
    assert sorted(record.id for record in world.drain()) == sorted(odd)
