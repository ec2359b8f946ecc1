"""A strategy that a producer chose yields to the first engine with another one; one that an engine chose does not.

The rule: if an actor dies at any of its commands, the next engine completes the change, and every task is run once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from support.mortal import Fate, Killed, mortal
from support.moving import Scene, bring_to_an_end, index_of, kept_by, meta_of, past, scene, settle
from support.older import AGED, SCRIPTLESS
from support.servers import Load, Server
from support.world import SCRIPTED, World

from dueq.core.errors import NamespaceMigrating, StrategyMismatch, StrategyYields, YieldUnderWay
from dueq.core.namespace import Namespace
from dueq.core.schema import keys
from dueq.core.store.values import Step
from dueq.core.upkeep import migration
from dueq.core.upkeep.reclaim import Reclaim

pytestmark = pytest.mark.one_server

PAIRS = [("lua", "watch"), ("lua", "buckets"), ("lua", "tmpset"), ("lua", "keyspace"), ("watch", "lua")]
_numbers = itertools.count(1)

pairs = pytest.mark.parametrize(("strategy_name", "to"), PAIRS)


@pytest.fixture(autouse=True)
def _few_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SHARD_DIGITS", 1)
    monkeypatch.setattr(migration, "_BATCH", 3)
    monkeypatch.setattr(migration, "_LOOKED_UP", 5)
    monkeypatch.setattr(migration, "_SHARDS", 4)


@pytest.fixture
def target(to: str, server: Server) -> str:
    if server.name in (AGED, SCRIPTLESS) and to in SCRIPTED:
        pytest.skip("this server has no scripts")
    return to


@pytest.fixture
def chosen(redis_url: str, strategy_name: str) -> Iterator[World]:
    """A namespace whose strategy a producer chose."""
    world = past(redis_url, f"chosen{next(_numbers)}", strategy_name)
    yield world
    world.close()


def engine_of(world: World, strategy: str) -> Namespace:
    """The namespace as an engine opens it that asks for ``strategy``."""
    return world.adopt(Namespace.open(replace(world.settings, strategy=strategy), engine=True))


@pairs
def test_it_yields_to_the_first_engine_with_all_its_tasks(chosen: World, strategy_name: str, target: str) -> None:
    found = scene(chosen, 0)
    assert meta_of(chosen) == kept_by(chosen, strategy_name, "producer")
    with pytest.raises(StrategyYields):
        Namespace.open(replace(chosen.settings, strategy=target))  # another producer is refused as ever
    engine = Reclaim(engine_of(chosen, target))
    engine.settle()
    assert engine.settled
    assert meta_of(chosen) == kept_by(chosen, target)
    assert index_of(chosen, strategy_name) == []
    _finish(found, target)


@pairs
def test_what_an_engine_chose_does_not_yield(chosen: World, strategy_name: str, target: str) -> None:
    chosen.schedule("a")
    Reclaim(engine_of(chosen, strategy_name)).settle()
    with pytest.raises(StrategyMismatch, match=f"owned by strategy '{strategy_name}'") as refused:
        engine_of(chosen, target)
    assert not isinstance(refused.value, StrategyYields)
    assert meta_of(chosen) == kept_by(chosen, strategy_name)


@pairs
def test_while_it_yields_engines_wait_and_producers_go_on(chosen: World, strategy_name: str, target: str) -> None:
    chosen.schedule("far", delay_us=3600_000_000)
    begun = migration.begin(engine_of(chosen, target), target, by="producer")
    assert begun is not None
    engine = engine_of(chosen, target)
    for step in (
        lambda: engine.strategy.dispatch(10),
        lambda: engine.store.advance(Step("w1", ["q"], 1_000_000)),
        engine.claim,
    ):
        with pytest.raises(YieldUnderWay):
            step()
    assert chosen.schedule("new", store=engine.store)[0].existing == ""
    with pytest.raises(NamespaceMigrating):
        engine.store.cancel("far")
    with pytest.raises(NamespaceMigrating):
        Reclaim(engine_of(chosen, "buckets" if target == "tmpset" else "tmpset")).settle()
    begun.run()
    assert engine.store.cancel("far")
    assert engine.store.cancel("new")


@pairs
def test_another_engine_goes_on_only_with_a_yield_that_stands_still(chosen: World, target: str) -> None:
    chosen.schedule("a", delay_us=3600_000_000)
    begun = migration.begin(engine_of(chosen, target), target, by="producer")
    assert begun is not None
    now = 0.0
    other = Reclaim(engine_of(chosen, target), clock=lambda: now)
    meta = chosen.keys.plain("meta")
    for _ in range(10):
        assert other.run_once() > 0
        now += 14.0
        chosen.redis.hincrby(meta, "moved", 1)  # as it does itself, once a second
    migrator = chosen.redis.hget(meta, "migrator")
    other.run_once()
    now += 16.0
    other.run_once()
    assert chosen.redis.hget(meta, "migrator") != migrator
    with pytest.raises(NamespaceMigrating, match="another process goes on"):
        begun.run()
    other.settle()
    assert meta_of(chosen) == kept_by(chosen, target)


@pytest.mark.parametrize(("strategy_name", "to"), [("lua", "watch"), ("watch", "lua")])
@pytest.mark.timeout(300)
def test_a_yield_cut_short_anywhere_is_gone_on_with(
    redis_url: str, strategy_name: str, target: str, record_property: Callable[[str, object], None], load: Load
) -> None:
    """Every other pair of strategies, and tasks in every state, is in test_migration_cuts.

    To Redis, death just before a command is death just after the one before it.
    """

    def at(fate: Fate) -> None:
        old = past(redis_url, f"yield{next(_numbers)}", strategy_name)
        try:
            old.schedule("due")
            old.schedule("far1", "far2", "far3", "far4", delay_us=3600_000_000)
            with suppress(Killed):
                Reclaim(mortal(engine_of(old, target), fate)).settle()
            assert fate.dead is (fate.at > 0)
            ticks = itertools.count(0, 20)
            heir = Reclaim(engine_of(old, target), clock=lambda: next(ticks))
            while not heir.settled:
                heir.run_once()
            assert index_of(old, strategy_name) == []
            assert meta_of(old) == kept_by(old, target)
            new = engine_of(old, target)
            assert [census.scheduled for census in new.strategy.census(["q"])] == [5]
            assert [moved.id for moved in old.dispatch_all(new.strategy)] == ["due"]
        finally:
            old.close()

    whole = Fate()
    at(whole)
    points = load.of(list(range(1, whole.sent + 1)))
    for k in points:
        at(Fate(k, "after"))
    record_property("crash points", len(points))
    print(f"{len(points)} crash points")


@pairs
@pytest.mark.parametrize("lost", ["everything", "meta"])
def test_what_redis_lost_is_claimed_again(chosen: World, strategy_name: str, target: str, lost: str) -> None:
    """Before a producer comes along, and after one chose the default."""
    losses: list[int] = []
    engine = Reclaim(engine_of(chosen, target), on_loss=lambda: losses.append(1))
    engine.settle()

    def lose() -> None:
        if lost == "meta":
            chosen.redis.delete(chosen.keys.plain("meta"))
        else:
            chosen.wipe()

    lose()
    engine.run_once()
    assert (meta_of(chosen), len(losses)) == (kept_by(chosen, target), 1)
    lose()
    chosen.schedule("a", delay_us=3600_000_000)  # by a producer of the other strategy
    assert meta_of(chosen) == kept_by(chosen, strategy_name, "producer")
    assert engine.run_once() == 0.0
    engine.settle()
    assert (meta_of(chosen), len(losses)) == (kept_by(chosen, target), 2)
    heir = engine_of(chosen, target)
    assert [census.scheduled for census in heir.strategy.census(["q"])] == [1]
    assert heir.store.cancel("a")


def test_a_look_at_what_is_as_it_should_be_is_one_command(world: World) -> None:
    engine = Reclaim(world.main)
    engine.settle()
    world.redis.config_resetstat()
    engine.run_once()
    sent = world.redis.info("commandstats")
    assert sum(of["calls"] for name, of in sent.items() if name == "cmdstat_hmget") == 1
    assert not sent.keys() & {"cmdstat_watch", "cmdstat_multi", "cmdstat_hmset"}
    world.redis.delete(world.keys.plain("meta"))


def _finish(found: Scene, target: str) -> None:
    world = World(found.world.settings.redis_url or "", found.world.keys.namespace, target)
    try:
        settle(found)
        assert sum(census.scheduled for census in world.strategy.census(world.store.queues())) == found.indexed
        bring_to_an_end(world, found)
    finally:
        world.close()
