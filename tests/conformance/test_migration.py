"""A namespace is moved to another strategy with tasks in every state: nothing is lost, early, or run twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError
from support.moving import (
    HOUR_US,
    bring_to_an_end,
    index_of,
    kept_by,
    meta_of,
    migrate,
    past,
    scene,
    settle,
    touching_the_index,
    visitor,
)
from support.older import AGED, SCRIPTLESS
from support.servers import Server
from support.world import LEASE_US, SCRIPTED, World

from dueq import strategies
from dueq.core.errors import ConfigurationError, NamespaceMigrating, StrategyMismatch
from dueq.core.store.values import Loss, Outcome, Step
from dueq.core.upkeep import migration

pytestmark = pytest.mark.few_servers

_numbers = itertools.count(1)


every_pair = pytest.mark.parametrize(("strategy_name", "to"), list(itertools.permutations(strategies.names(), 2)))


@pytest.fixture
def target(to: str, server: Server) -> str:
    """The strategy to move to."""
    if server.name in (AGED, SCRIPTLESS) and to in SCRIPTED:
        pytest.skip("this server has no scripts")
    return to


@pytest.fixture
def other(strategy_name: str) -> str:
    """Some strategy that runs everywhere, and is not the one of this test."""
    return "watch" if strategy_name != "watch" else "tmpset"


@pytest.fixture
def old(redis_url: str, strategy_name: str) -> Iterator[World]:
    """The namespace before."""
    world = past(redis_url, f"moved{next(_numbers)}", strategy_name)
    yield world
    world.close()


@every_pair
def test_every_pair(old: World, target: str) -> None:
    found = scene(old)
    told: list[int] = []
    begun = migration.begin(visitor(old), target)
    assert begun is not None
    assert begun.run(told.append) == found.indexed
    assert sum(told) == begun.steps
    assert begun.unreadable == 0
    assert index_of(old, old.settings.strategy or "") == []
    settle(found)
    world = World(old.settings.redis_url or "", old.keys.namespace, target)
    try:
        assert sum(census.scheduled for census in world.strategy.census(world.store.queues())) == found.indexed
        bring_to_an_end(world, found)
    finally:
        world.close()


@every_pair
def test_there_and_back(old: World, target: str) -> None:
    old.schedule("far", "farther", delay_us=HOUR_US)
    old.schedule("due")
    before = old.store.record("far")
    assert migrate(old, target) == 3
    assert migrate(old, old.settings.strategy or "") == 3
    assert index_of(old, target) == []
    assert old.store.record("far") == before
    old.clock.ahead_us = 0
    assert [record.id for record in old.drain()] == ["due"]
    assert old.store.cancel("far")
    assert old.store.cancel("farther")
    assert old.leftovers() == []


@every_pair
def test_many_tasks_in_one_second_and_in_many(old: World, target: str) -> None:
    due_us = old.now_us() + HOUR_US
    old.schedule(*(f"t{number}" for number in range(1500)), due_us=due_us)
    for number in range(150):
        old.schedule(f"u{number}", due_us=due_us + number * 1_000_000, queue="other")
    assert migrate(old, target) == 1650
    strategy = visitor(old).strategy
    assert [census.scheduled for census in strategy.census(["q", "other"])] == [1500, 150]
    assert index_of(old, old.settings.strategy or "") == []


@pytest.mark.parametrize("over", [False, True], ids=["under way", "over"])
def test_the_old_strategy_is_refused_wherever_it_touches_an_index(old: World, other: str, over: bool) -> None:
    found = scene(old)
    attempts = [*touching_the_index(found), old.actor]
    begun = migration.begin(visitor(old), other)
    assert begun is not None
    if over:
        begun.run()
    before = _everything(old)
    for attempt in attempts:
        with pytest.raises(StrategyMismatch, match=f"owned by strategy '{other}'"):
            attempt()
    assert _everything(old) == before


def test_what_touches_no_index_goes_on(old: World, other: str) -> None:
    found = scene(old)
    begun = migration.begin(visitor(old), other)
    assert begun is not None
    assert old.store.extend("w1", [found.claim], LEASE_US) == [True]
    settle(found)
    assert old.store.reap(100, LEASE_US, 3).lost == []
    begun.run()


def _everything(world: World) -> dict[str, Any]:
    """Every key with its value, but for counters that only have to rise."""
    skipped = {world.keys.plain("token"), world.keys.plain("guard")}
    keys = sorted(key.decode() for key in world.found())
    return {key: _value(world, key) for key in keys if key not in skipped}


def _value(world: World, key: str) -> Any:
    client: Any = world.redis
    match client.type(key):
        case b"list":
            return client.lrange(key, 0, -1)
        case b"hash":
            return client.hgetall(key)
        case b"zset":
            return client.zrange(key, 0, -1)
        case b"set":
            return client.smembers(key)
    return client.get(key)


def test_the_new_strategy_takes_new_tasks_and_touches_no_others_until_it_is_over(
    redis_url: str, strategy_name: str, other: str
) -> None:
    old = past(redis_url, f"moved{next(_numbers)}", other)
    try:
        found = scene(old)
        begun = migration.begin(visitor(old), strategy_name)
        assert begun is not None
        world = World(redis_url, old.keys.namespace, strategy_name)
        raw = world.store.shards([world.keys.record("far1")])["far1"]
        attempts: list[Callable[[], object]] = [
            lambda: world.store.cancel("far1"),
            lambda: world.store.cancel("ready"),
            lambda: world.store.reschedule("far1", 0),
            lambda: world.store.mend("far1", raw),
            lambda: world.store.advance(Step("w3", ["q"], LEASE_US)),
            lambda: world.strategy.dispatch(100),
            lambda: world.main.claim(),
        ]
        world.schedule("new")
        assert world.settle("w1", Outcome(found.claim, "retry")) == "done"
        for attempt in attempts:
            with pytest.raises(NamespaceMigrating, match=f"dueq migrate --to {strategy_name}"):
                attempt()
        assert begun.run() == found.indexed
        assert [lost.id for lost in world.store.give_back(Loss("w1", "unstarted", 9))] == ["held"]
        found.waiting |= {"new", "leased"}
        bring_to_an_end(world, found)
        world.close()
    finally:
        old.close()


def test_what_cannot_begin(old: World, other: str) -> None:
    old.schedule("far", delay_us=HOUR_US)
    before = _everything(old)
    with pytest.raises(ConfigurationError, match="there is no strategy 'nonsense'"):
        migration.begin(visitor(old), "nonsense")
    assert migration.begin(visitor(old), old.settings.strategy or "") is None
    assert _everything(old) == before
    assert migration.begin(visitor(old), other) is not None
    third = "buckets" if old.settings.strategy != "buckets" else "tmpset" if other == "watch" else "watch"
    for refused in (third, old.settings.strategy or ""):
        with pytest.raises(NamespaceMigrating, match=f"finish it first with dueq migrate --to {other} "):
            migration.begin(visitor(old), refused)
    assert migrate(old, other) == 1


def test_a_namespace_that_nobody_keeps(old: World) -> None:
    assert migration.begin(visitor(old), old.settings.strategy or "") is None
    assert meta_of(old) == kept_by(old, old.settings.strategy or "")


def test_whoever_is_replaced_can_do_nothing_any_more(old: World, other: str) -> None:
    found = scene(old)
    slow, quick = (migration.begin(visitor(old), other) for _ in range(2))
    assert slow is not None
    assert quick is not None
    with pytest.raises(NamespaceMigrating, match="another process goes on"):
        slow.run()
    assert quick.run() == found.indexed
    before = _everything(old)
    with pytest.raises(NamespaceMigrating, match="another process goes on"):
        slow.run()
    assert _everything(old) == before


@every_pair
def test_at_maxmemory_it_is_refused_and_goes_on_afterwards(old: World, target: str) -> None:
    found = scene(old)
    begun = migration.begin(visitor(old), target)
    assert begun is not None
    old.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            begun.run()
    finally:
        old.redis.config_set("maxmemory", 0)
    assert begun.run() == found.indexed
    settle(found)
    world = World(old.settings.redis_url or "", old.keys.namespace, target)
    bring_to_an_end(world, found)
    world.close()


def test_a_record_that_cannot_be_read_is_left_alone(old: World, other: str) -> None:
    old.schedule("strange", "far", delay_us=HOUR_US)
    old.redis.hset(old.keys.record("strange"), "strange", "99|from|the|future")
    begun = migration.begin(visitor(old), other)
    assert begun is not None
    assert begun.run() == 1
    assert begun.unreadable == 1
    assert old.redis.hget(old.keys.record("strange"), "strange") == b"99|from|the|future"
