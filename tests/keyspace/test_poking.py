"""On every server: a key that a script reads expires at once, and its event goes to every dispatcher.

The servers look for expired keys as seldom as possible, once a second: if tasks are on time, it is because of poking.
"""

from __future__ import annotations

import statistics

import pytest
from support.servers import Server, server_parameters
from support.waiting import wait_until
from support.world import World

from dueq.core.client.keyspace_events import SETTING, Subscription
from dueq.core.clock import US
from dueq.strategies.keyspace import KeyspaceStrategy

from .conftest import IN_TIME_S, Make, Start

each_server = pytest.mark.parametrize("server", server_parameters())


def _poke(world: World, limit: int = 100) -> int:
    assert isinstance(world.strategy, KeyspaceStrategy)
    return int(world.strategy.scripts.load("dueq.strategies.keyspace", "poke")(limit))


@each_server
def test_a_poke_expires_what_is_due_and_tells_how_many_events_that_made(make: Make, server: Server) -> None:
    world = make("hz 1", f"{SETTING} Kx", server=server)
    subscription = Subscription(world.main.client, world.keys.of("alarm", ""), "expired")
    subscription.start()
    events = 0
    for round_number in range(25):
        near, deleted = f"near{round_number}", f"deleted{round_number}"
        due = world.now_us() + 20_000 + 37 * round_number  # wherever in a millisecond
        world.schedule(near, deleted, due_us=due)
        world.schedule(f"far{round_number}", delay_us=3600 * US)
        world.redis.delete(world.keys.of("alarm", f"q:{deleted}"))
        # in the first millisecond in which the key may have expired
        wait_until(lambda due=due: world.now_us() >= due + 1000)  # type: ignore[misc]
        made = _poke(world)
        heard = subscription.wait(1.0)
        assert heard == [f"q:{near}"], "Redis may have come to it by itself, but in any case it has expired"
        events += made
        assert _poke(world) == 0
        assert len(world.dispatch_all()) == 2
        assert subscription.read() == []
    assert events >= 20, "Redis comes to few of them by itself"
    subscription.close()


def test_a_poke_looks_at_no_more_than_it_may(make: Make) -> None:
    world = make("hz 1", f"{SETTING} Kx")
    for round_number in range(5):  # in one of them Redis may come to it by itself
        due = world.now_us() + 20_000
        for queue in ("a", "b", "c"):
            world.schedule(*[f"{queue}{round_number}.{number}" for number in range(4)], queue=queue, due_us=due)
        wait_until(lambda due=due: world.now_us() >= due + 1000)  # type: ignore[misc]
        assert _poke(world, 5) <= 5
        assert len(world.dispatch_all()) == 12


@each_server
def test_dispatchers_are_on_time_and_woken_by_events(make: Make, start: Start, server: Server) -> None:
    world = make("hz 1", server=server)
    tasks = 30
    dispatchers = start(world, 2)
    due = world.now_us() + 200_000
    for number in range(tasks):
        world.schedule(f"t{number}", due_us=due + number * 20_000 + number)
    dispatchers.wait_for(tasks)
    assert sum(dispatchers.won) == tasks
    assert min(dispatchers.late) >= 0
    assert statistics.median(dispatchers.late) < 0.02
    assert max(dispatchers.late) < IN_TIME_S
    assert dispatchers.wakeups["event"] > tasks
