"""An event starts a race that exactly one dispatcher wins; its wake-ups and lost races are counted truthfully."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.waiting import wait_until
from support.world import World

from dueq.core.clock import US
from dueq.core.errors import ConfigurationError
from dueq.core.schema.keys import Keys
from dueq.core.store.values import NewTask

from .conftest import IN_TIME_S, Make, Start
from .dispatchers import Dispatchers

HOUR_US = 3600 * US
TASKS = 100
SETTLED_S = 0.2
"""Long enough for a dispatcher that was woken to have slept again."""


def _won_once_each(world: World, count: int) -> None:
    """Every task is in the ready list, and none is there twice."""
    assert world.states() == {"scheduled": 0, "ready": count, "leased": 0, "dead": 0}
    taken: list[str] = []
    while (step := world.take("w", want=count)).started is not None:
        assert step.dropped == []
        taken += [step.started.id, *(record.id for record in step.held)]
    assert len(taken) == len(set(taken)) == count
    world.wipe()


def _schedule(world: World, prefix: str, tasks: int, due_us: int, apart_us: int = 0) -> None:
    """At once, so that a busy machine does not take longer for it than until the first is due."""
    body = b'["f",[]]'
    world.store.schedule(
        [NewTask(f"{prefix}{number}", "q", due_us + number * apart_us, body, False) for number in range(tasks)]
    )


@pytest.mark.parametrize("count", [2, 8])
def test_one_of_many_wins_each_task(make: Make, count: int) -> None:
    """Tasks due one by one, and as many due at one instant."""
    world = make()
    _until_seen(lambda: _race(world, count))


def _race(world: World, count: int) -> bool:
    """Each task is won by one; True if this machine let them race: where it stands still, all is due at once."""
    with Dispatchers(world, count) as racers:
        due = world.now_us() + 300_000
        _schedule(world, "single", TASKS, due, 5000)
        _schedule(world, "many", TASKS, due + (TASKS + 20) * 5000)
        racers.wait_for(2 * TASKS)
        time.sleep(SETTLED_S)
        assert sum(racers.won) == 2 * TASKS
        assert min(racers.late) >= 0
        assert racers.conflicts <= racers.wakeups["event"]
        _won_once_each(world, 2 * TASKS)
        print(f"{count} dispatchers: won {racers.won}, woken {dict(racers.wakeups)}, {racers.conflicts} conflicts")
        woken, winners = racers.wakeups["event"], sum(won > 0 for won in racers.won)
        return woken > count * TASKS / 4 and racers.conflicts > woken / 4 and winners == count


def test_one_alone_never_loses_a_race(make: Make) -> None:
    """What it moved itself is no news to it, though Redis tells of that, too."""
    world = make()
    _until_seen(lambda: _alone(world))


def _alone(world: World) -> bool:
    with Dispatchers(world) as alone:
        due = world.now_us() + 200_000
        _schedule(world, "single", TASKS, due, 5000)
        # its poke lets some of these expire, and the moving all others
        _schedule(world, "many", 3 * TASKS, due + (TASKS + 20) * 5000)
        alone.wait_for(4 * TASKS)
        time.sleep(SETTLED_S)
        _won_once_each(world, 4 * TASKS)
        assert alone.conflicts == 0
        woken = alone.wakeups
        assert woken["safety_net"] == 0
        assert woken.total() <= 2 * TASKS
        return woken["event"] > TASKS / 2


def _until_seen(look: Callable[[], bool]) -> None:
    """What only a machine shows that does not stand still meanwhile; what must hold in any case is asserted inside."""
    assert any(look() for _ in range(5))


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
