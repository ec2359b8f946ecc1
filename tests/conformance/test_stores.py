"""The server decides which store a namespace has. Moved to the other store, a namespace keeps all its tasks; a process
that began with the old store is refused wherever it writes to the index.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.mortal import interrupted
from support.moving import (
    HOUR_US,
    Scene,
    bring_to_an_end,
    kept_by,
    meta_of,
    past,
    scene,
    settle,
    touching_the_index,
    visitor,
)
from support.older import AGED, SCRIPTLESS
from support.servers import Server
from support.world import LEASE_US, TRANSACTIONAL, World

from dueq import strategies
from dueq.core.client.protocol import Command
from dueq.core.clock import US
from dueq.core.config import Settings
from dueq.core.errors import ConfigurationError, StoreMismatch, StoreYields
from dueq.core.namespace import Namespace
from dueq.core.schema.ownership import StoreKind
from dueq.core.store.strategy import Entry
from dueq.core.store.values import NewTask, Outcome, Step
from dueq.core.upkeep import migration
from dueq.core.upkeep.reclaim import Reclaim
from dueq.strategies.watch import WatchStrategy

BOTH: tuple[StoreKind, StoreKind] = ("scripted", "transactional")
_numbers = itertools.count(1)

either_way = pytest.mark.parametrize("first", BOTH)
can_have_both = pytest.mark.parametrize("strategy_name", TRANSACTIONAL)


def other(store: StoreKind) -> StoreKind:
    return "transactional" if store == "scripted" else "scripted"


@pytest.fixture
def old(redis_url: str, strategy_name: str, first: StoreKind) -> Iterator[World]:
    """A namespace with this store."""
    name = f"stored{next(_numbers)}"
    fresh = Namespace.open(Settings(redis_url=redis_url, namespace=name, strategy=strategy_name))
    assert migration.begin(fresh, strategy_name, store=first) is None
    fresh.close()
    world = past(redis_url, name, strategy_name)
    assert world.strategy.store == first
    yield world
    world.close()


def test_the_store_goes_by_the_server(world: World, server: Server) -> None:
    without = server.name in (AGED, SCRIPTLESS)
    assert world.strategy.store == ("transactional" if without else "scripted")
    assert world.main.clock.of_server is (not without and world.settings.strategy not in TRANSACTIONAL)
    world.schedule("a")
    assert meta_of(world)["store"] == world.strategy.store


@pytest.mark.scripted
@can_have_both
def test_without_a_clock_of_its_own_every_strategy_goes_by_that_of_redis(redis_url: str, strategy_name: str) -> None:
    space = Namespace.open(Settings(redis_url=redis_url, namespace="clocks", strategy=strategy_name))
    assert space.clock.of_server
    space.close()


@pytest.mark.scripted
def test_redis_is_asked_for_the_time_once_however_many_queues_there_are(redis_url: str, strategy_name: str) -> None:
    space = Namespace.open(Settings(redis_url=redis_url, namespace="times", strategy=strategy_name))
    queues = [f"q{number}" for number in range(30)]
    space.store.schedule([NewTask(queue, queue, US, b'["f",[]]', relative=True) for queue in queues])

    def asked() -> int:
        stats: Any = space.client.info("commandstats")
        return int(stats.get("cmdstat_time", {"calls": 0})["calls"])

    for look in (space.strategy.first_due, space.strategy.census):
        before = asked()
        assert len(look(queues)) == len(queues)
        assert asked() - before <= 2, look
    space.strategy.clear(queues)
    space.client.delete(*space.client.keys(f"{space.keys.prefix}*"))
    space.close()


@pytest.mark.scripted
@can_have_both
@either_way
def test_tasks_in_every_state_are_moved_to_the_other_store(old: World, strategy_name: str, first: StoreKind) -> None:
    found = scene(old)
    assert migration.begin(visitor(old), strategy_name, store=other(first)) is None
    assert meta_of(old) | {"aside": "1"} == kept_by(old, strategy_name) | {"store": other(first), "aside": "1"}
    world = World(old.settings.redis_url or "", old.keys.namespace, strategy_name)
    try:
        assert world.strategy.store == other(first)
        assert sum(census.scheduled for census in world.strategy.census(world.store.queues())) == found.indexed
        while world.strategy.recover():
            pass
        settle(found, world)
        bring_to_an_end(world, found)
    finally:
        world.close()


@pytest.mark.scripted
@pytest.mark.parametrize(
    ("strategy_name", "first", "to", "store"),
    [
        ("watch", "transactional", "lua", None),
        ("tmpset", "transactional", "buckets", "scripted"),
        ("buckets", "transactional", "keyspace", "scripted"),
        ("lua", "scripted", "tmpset", "transactional"),
        ("keyspace", "scripted", "watch", "transactional"),
        ("watch", "scripted", "buckets", "transactional"),
        ("buckets", "transactional", "watch", None),
    ],
)
def test_strategy_and_store_are_moved_at_once(old: World, to: str, store: StoreKind | None) -> None:
    found = scene(old)
    begun = migration.begin(visitor(old), to, store=store)
    assert begun is not None
    assert begun.run() == found.indexed
    wanted = store or (old.strategy.store if old.strategy.store in strategies.find(to).stores() else "scripted")
    assert (meta_of(old)["strategy"], meta_of(old)["store"]) == (to, wanted)
    settle(found)
    world = World(old.settings.redis_url or "", old.keys.namespace, to)
    try:
        assert world.strategy.store == wanted
        bring_to_an_end(world, found)
    finally:
        world.close()


@pytest.mark.scripted
@can_have_both
@either_way
def test_who_began_with_the_other_store_is_refused(old: World, strategy_name: str, first: StoreKind) -> None:
    found = scene(old)
    attempts = touching_the_index(found)
    migration.begin(visitor(old), strategy_name, store=other(first))
    before = {key: old.redis.dump(key) for key in old.found()}
    for attempt in attempts:
        with pytest.raises(StoreMismatch, match=f"uses the {other(first)} store, not the {first} one"):
            attempt()
    assert {key: old.redis.dump(key) for key in old.found()} == before
    assert main_settles(found) == "done", "what runs may end"


def main_settles(found: Scene) -> str:
    return found.world.store.advance(Step("w1", (), LEASE_US, want=0, outcome=Outcome(found.claim, "ack"))).settled


@pytest.mark.scripted
@pytest.mark.parametrize(("strategy_name", "first"), [("lua", "scripted"), ("keyspace", "scripted")])
def test_a_strategy_that_needs_scripts_cannot_have_the_other_store(old: World, strategy_name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot use the transactional store, only with scripted"):
        migration.begin(visitor(old), strategy_name, store="transactional")


@pytest.mark.scripted
@can_have_both
@pytest.mark.parametrize("first", ["transactional"])
class TestOlder:
    """A namespace whose ``meta`` does not say with which store it is kept: an older dueq wrote it."""

    @pytest.fixture
    def older(self, old: World) -> World:
        old.schedule("a", delay_us=HOUR_US)
        old.redis.hdel(old.keys.plain("meta"), "store", "by", "format", "features")
        return old

    def engine(self, world: World) -> Namespace:
        return world.adopt(Namespace.open(replace(world.settings, strategy=None), engine=True))

    def test_producers_keep_to_the_rule_of_old_until_an_engine_says_otherwise(self, older: World) -> None:
        assert visitor(older).strategy.store == "transactional"
        engine = self.engine(older)
        engine.claim()
        assert meta_of(older) == kept_by(older, older.settings.strategy or "") | {"store": "scripted", "format": "1"}
        assert visitor(older).strategy.store == "scripted"
        with pytest.raises(StoreMismatch):
            older.schedule("b")

    @pytest.mark.parametrize("registry", ["workers", "supervisors"])
    def test_an_engine_is_refused_while_another_lives(self, older: World, registry: str) -> None:
        alive_until = older.now_us() + 60 * US
        older.redis.zadd(older.keys.plain(registry), {"somebody": alive_until})
        with pytest.raises(StoreMismatch, match="processes that may have the other are alive: stop every"):
            self.engine(older).claim()
        strategy = older.settings.strategy or ""
        with pytest.raises(StoreMismatch, match="processes that may have the other are alive: stop every"):
            migration.begin(visitor(older), strategy, store="scripted")
        assert "store" not in meta_of(older)
        older.redis.zrem(older.keys.plain(registry), "somebody")
        self.engine(older).claim()
        assert meta_of(older)["store"] == "scripted"


@pytest.mark.scripted
@can_have_both
@either_way
def test_the_store_that_a_producer_chose_yields(old: World, strategy_name: str, first: StoreKind) -> None:
    old.schedule("a", delay_us=HOUR_US)
    ours = visitor(old)
    migration.begin(ours, strategy_name, store=other(first), by="producer")
    engine = old.main
    with pytest.raises(StoreYields, match="a producer chose it"):
        engine.claim()
    Reclaim(engine).settle()
    assert meta_of(old) == kept_by(old, strategy_name) | {"store": first}
    assert old.store.cancel("a")


@pytest.mark.scripted
def test_a_dispatcher_that_watches_the_guard_is_disturbed_by_what_leaves_the_index(world: World) -> None:
    """And the others do not pay for it."""

    def touches(act: Callable[[], object]) -> int:
        before = int(world.redis.get(world.keys.plain("guard")) or 0)
        act()
        return int(world.redis.get(world.keys.plain("guard")) or 0) - before

    world.schedule("a", "b", delay_us=HOUR_US)
    expected = int(world.settings.strategy in ("watch", "buckets"))
    assert touches(lambda: world.store.reschedule("a", 2 * HOUR_US, relative=True)) == expected
    assert touches(lambda: world.store.cancel("a")) == expected
    assert touches(lambda: world.schedule("c", delay_us=HOUR_US)) == 0


class Inherited(WatchStrategy):
    """A third party's, which writes the index as ``watch`` does."""

    name = "inherited"


class WritesOtherwise(Inherited):
    """One that writes it in another way, by commands; it does not say how in Lua."""

    name = "otherwise"

    def add(self, entries: Sequence[Entry]) -> list[Command]:
        return [*super().add(entries), ("SADD", f"{self.keys.prefix}otherwise", "1")]


def test_a_strategy_has_the_store_that_can_write_its_index() -> None:
    assert Inherited.stores() == ("scripted", "transactional")
    assert "zset_remove" in Inherited.timers()
    assert WritesOtherwise.stores() == ("transactional",)


@pytest.mark.scripted
@pytest.mark.parametrize("strategy_name", ["buckets"])
class TestLazyMend:
    """No step may look through a whole bucket: it is read before, and the step goes by the guard."""

    def raw(self, world: World) -> bytes:
        return world.store.shards([world.keys.record("a")])["a"]

    def test_a_task_that_is_there_is_left_alone(self, world: World) -> None:
        world.schedule("a", delay_us=HOUR_US)
        assert not world.store.mend("a", self.raw(world))
        assert world.states()["scheduled"] == 1

    def test_one_whose_second_is_not_listed_is_found_again(self, world: World) -> None:
        world.schedule("a", delay_us=HOUR_US)
        world.redis.delete(world.keys.of("seconds", "q"))
        assert world.store.mend("a", self.raw(world))
        world.clock.ahead_us += HOUR_US + US
        assert [record.id for record in world.drain()] == ["a"]

    def test_one_that_is_gone_is_added(self, world: World) -> None:
        world.schedule("a", delay_us=HOUR_US)
        world.strategy.clear(["q"])
        assert world.store.mend("a", self.raw(world))
        world.clock.ahead_us += HOUR_US + US
        assert [record.id for record in world.drain()] == ["a"]

    def test_two_auditors_at_once_add_it_once(self, world: World) -> None:
        world.schedule("a", delay_us=HOUR_US)
        world.strategy.clear(["q"])
        raw, mended, second = self.raw(world), list[bool](), world.actor()

        def meanwhile() -> None:
            """Between the look at the bucket and the step that adds."""
            if not mended and commands["sent"] == 3:
                mended.append(second.store.mend("a", raw))
            commands["sent"] += 1

        commands = {"sent": 0}
        first = interrupted(world.actor(), meanwhile).store
        assert first.record("a") is not None
        commands["sent"] = 0
        assert [first.mend("a", raw), *mended] == [False, True]
        assert world.states()["scheduled"] == 1
        world.clock.ahead_us += HOUR_US + US
        assert [record.id for record in world.drain()] == ["a"]
