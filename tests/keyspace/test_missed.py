"""Events that never came: nobody listened, the key or the connection was gone, or Redis dropped the event."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

import pytest
from redis.exceptions import OutOfMemoryError
from support.waiting import wait_until
from support.world import MovableClock, World

from dueq.core.client.embedded import EmbeddedServer
from dueq.core.client.keyspace_events import SETTING
from dueq.core.clock import US
from dueq.core.namespace import Namespace

from .conftest import IN_TIME_S, Make, Start, next_lateness
from .dispatchers import Dispatchers

HOUR_US = 3600 * US
BACK_S = 3.0
"""Within this a dispatcher has noticed that Redis is back: it tries at least once a second."""


def _on_time(world: World, dispatchers: Dispatchers, tasks: int = 10) -> float:
    """The median lateness of some more tasks, in seconds."""
    before = len(dispatchers.late)
    due = world.now_us() + 100_000
    for number in range(tasks):
        world.schedule(f"more{time.monotonic_ns()}", due_us=due + number * 20_000)
    dispatchers.wait_for(before + tasks)
    return statistics.median(dispatchers.late[before:])


def test_what_expired_while_nobody_listened_is_found(make: Make, start: Start) -> None:
    world = make()
    world.schedule("a", "b", delay_us=30_000)
    time.sleep(0.1)
    for task_id in ("a", "b"):
        world.redis.exists(world.keys.of("alarm", f"q:{task_id}"))  # the event is sent, to nobody
    start(world).wait_for(2, 1.0)


def test_the_safety_net_finds_what_no_dispatcher_was_told_of(make: Make) -> None:
    """Neither a wake-up nor an event: only the index knows."""
    world = make()
    assert world.strategy.dispatch(100).next_in is None
    world.strategy.wait(0.01)
    world.schedule("a", delay_us=50_000)
    world.redis.delete(world.keys.of("alarm", "q:a"), world.keys.plain("wake"))
    world.strategy.close()  # and with it the wake-up that is on its way
    began = time.monotonic()
    assert world.strategy.wait(0.3) is None
    assert time.monotonic() - began >= 0.29
    assert len(world.strategy.dispatch(100).moved) == 1


def test_an_alarm_that_was_deleted_does_not_matter(make: Make, start: Start) -> None:
    world = make()
    world.schedule("a", delay_us=200_000)
    sleeper = start(world)
    assert world.redis.delete(world.keys.of("alarm", "q:a")) == 1
    sleeper.wait_for(1)
    assert sleeper.late[0] < IN_TIME_S
    assert sleeper.wakeups["event"] == 0
    assert sleeper.wakeups["due"] == 1


def test_alarms_that_were_evicted_do_not_matter(make: Make, start: Start) -> None:
    """They are the only keys that Redis may evict under a volatile policy."""
    world = make("maxmemory-policy volatile-random")
    ids = [f"t{number}" for number in range(20)]
    world.schedule(*ids, delay_us=700_000)
    sleeper = start(world)
    world.redis.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError):
        world.redis.set("filler", "x" * 1000)
    world.redis.config_set("maxmemory", "0")
    assert world.redis.exists(*(world.keys.of("alarm", f"q:{task_id}") for task_id in ids)) == 0
    sleeper.wait_for(20)
    assert max(sleeper.late) < IN_TIME_S


@pytest.mark.parametrize("delay_us", [-HOUR_US, 0, 300, 1500])
def test_what_is_due_now_or_within_a_millisecond(make: Make, start: Start, delay_us: int) -> None:
    """An alarm of the past is none: some servers would tell of it at once, some never."""
    world = make()
    world.schedule("far", delay_us=HOUR_US)
    sleeper = start(world)
    for number in range(20):
        world.schedule(f"t{number}", due_us=world.now_us() + delay_us)
        sleeper.wait_for(number + 1)
    assert statistics.median(sleeper.late) + min(0, delay_us) / US < 0.02
    assert min(sleeper.late) >= 0
    assert sleeper.conflicts == 0


def test_no_alarm_is_left(make: Make) -> None:
    world = make()
    ids = [f"t{number}" for number in range(2500)]
    world.schedule("a", "b", *ids, delay_us=HOUR_US)
    assert world.store.cancel("a")
    assert world.store.reschedule("b", 0)
    world.strategy.clear(["q"])
    assert [key for key in world.redis.keys("*") if b":alarm:" in key or b":timer:" in key] == []


def test_a_clock_that_jumps(make: Make) -> None:
    """The index goes by one clock with the task; what its alarm does then, early or late, changes nothing."""
    world = make()
    clock = MovableClock()
    ahead = world.adopt(Namespace.open(world.settings, clock=clock))
    world.schedule("a", delay_us=HOUR_US)
    assert ahead.strategy.dispatch(100).moved == []
    clock.ahead_us = HOUR_US + US
    assert len(ahead.strategy.dispatch(100).moved) == 1
    clock.ahead_us = -HOUR_US
    world.schedule("b", delay_us=20_000)
    result = ahead.strategy.dispatch(100)
    assert result.next_in is not None
    assert ahead.strategy.wait(0.1) in (None, "earlier", "event")
    assert ahead.strategy.dispatch(100).moved == []
    assert next_lateness(world) < IN_TIME_S


@pytest.mark.parametrize("kind", ["pubsub", "normal", "both"])
def test_connections_that_are_killed(make: Make, start: Start, kind: str) -> None:
    world = make()
    dispatchers = start(world, 2)
    _on_time(world, dispatchers)
    for each in ("pubsub", "normal") if kind == "both" else (kind,):
        world.redis.client_kill_filter(_type=each, skipme=True)
    assert _on_time(world, dispatchers) < IN_TIME_S
    wait_until(dispatchers.listening, 5, what="they have subscribed again")
    before = dispatchers.wakeups["event"]
    assert _on_time(world, dispatchers) < IN_TIME_S
    assert dispatchers.wakeups["event"] > before


def test_scripts_and_flags_that_are_lost(make: Make, start: Start) -> None:
    world = make()
    dispatchers = start(world, 2)
    _on_time(world, dispatchers)
    world.redis.script_flush()
    world.redis.config_set(SETTING, "")
    before = dispatchers.wakeups["event"]
    assert _on_time(world, dispatchers) < IN_TIME_S, "without events, by its own timer"
    wait_until(dispatchers.listening, 5, what="the flags are set again, as the next task was due")
    assert _on_time(world, dispatchers) < IN_TIME_S
    assert dispatchers.wakeups["event"] > before


@pytest.mark.parametrize(
    "options", [{"appendonly": "yes"}, {"appendonly": "no", "save": "3600 1"}], ids=["append-only file", "snapshot"]
)
def test_what_is_due_while_redis_is_down(tmp_path: Path, options: dict[str, str]) -> None:
    """Keys that expire meanwhile make no event, and the flags are gone, too."""
    server = EmbeddedServer(tmp_path / "d", options=options)
    world = World(server.start(), "events", "keyspace")
    try:
        with Dispatchers(world) as dispatchers:
            world.schedule(*[f"t{number}" for number in range(50)], delay_us=700_000)
            pid = int(world.redis.info("server")["process_id"])
            # killed, it keeps its append-only file; a snapshot is written only by one that ends in peace
            os.kill(pid, signal.SIGKILL if options["appendonly"] == "yes" else signal.SIGTERM)
            wait_until(lambda: not server.running())
            time.sleep(1.0)
            began = time.monotonic()
            server.start()
            dispatchers.wait_for(50, BACK_S)
            assert time.monotonic() - began < BACK_S
            wait_until(dispatchers.listening, BACK_S, what="the flags are set again")
            before = dispatchers.wakeups["event"]

            def an_event_wakes_one() -> bool:
                assert _on_time(world, dispatchers) < IN_TIME_S
                return dispatchers.wakeups["event"] > before

            # on a busy machine the timer of its own may be quicker than an event
            wait_until(an_event_wakes_one, 10, what="an event wakes a dispatcher")
    finally:
        world.close()
        server.stop()


@pytest.mark.long
def test_a_storm_of_events_loses_nothing(make: Make, start: Start) -> None:
    """More events at once than the server keeps for a subscriber: it is cut off, and the index has the tasks."""
    world = make("client-output-buffer-limit pubsub 32kb 8kb 1")
    dispatchers, count = start(world, 8), 50_000
    due = world.now_us() + 3 * US
    for first in range(0, count, 1000):
        world.schedule(*[f"t{number}" for number in range(first, first + 1000)], due_us=due)
    dispatchers.wait_for(count, 40)
    assert sum(dispatchers.won) == count
    assert world.states()["ready"] == count
    wait_until(dispatchers.listening, 10, what="whoever was cut off has subscribed again")
    world.wipe()
