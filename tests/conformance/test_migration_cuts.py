"""A migration that dies between any two commands, or happens between any two commands of another process."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress

import pytest
from support.mortal import Fate, Killed, interrupted, mortal
from support.moving import Scene, bring_to_an_end, index_of, kept_by, meta_of, migrate, scenes, settle, visitor
from support.older import AGED, SCRIPTLESS
from support.servers import Load, Server
from support.world import LEASE_US, SCRIPTED, World

from dueq.core.errors import StrategyMismatch
from dueq.core.namespace import Namespace
from dueq.core.schema import keys
from dueq.core.store.values import Loss, Outcome, Step
from dueq.core.upkeep import migration

pytestmark = pytest.mark.one_server

_numbers = itertools.count(1)
PAIRS = [
    ("lua", "buckets"), ("buckets", "lua"), ("tmpset", "keyspace"), ("keyspace", "tmpset"), ("watch", "buckets"),
    ("buckets", "watch"), ("lua", "keyspace"), ("tmpset", "watch"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _few_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of records, since reading each is a command that may be the last; and small batches, so that there are some."""
    monkeypatch.setattr(keys, "SHARD_DIGITS", 1)
    monkeypatch.setattr(migration, "_BATCH", 3)
    monkeypatch.setattr(migration, "_LOOKED_UP", 5)
    monkeypatch.setattr(migration, "_SHARDS", 4)


@pytest.fixture
def target(to: str, server: Server) -> str:
    """The strategy to move to."""
    if server.name in (AGED, SCRIPTLESS) and to in SCRIPTED:
        pytest.skip("this server has no scripts")
    return to


@pytest.mark.crash_points
@pytest.mark.in_turn
@pytest.mark.parametrize(("strategy_name", "to"), PAIRS)
@pytest.mark.timeout(300)
def test_a_migration_cut_short_anywhere_can_be_run_again(
    redis_url: str, strategy_name: str, target: str, record_property: Callable[[str, object], None], load: Load
) -> None:
    copied = scenes(redis_url, strategy_name)

    def at(fate: Fate) -> None:
        found, moved = copied(f"cut{next(_numbers)}"), 0
        old = found.world
        try:
            actor = mortal(visitor(old), fate)
            with suppress(Killed):
                begun = migration.begin(actor, target)
                assert begun is not None
                moved = begun.run()
            assert fate.dead is (fate.at > 0)
            again = migrate(old, target)
            assert fate.dead or (moved, again) == (found.indexed, 0)
            assert index_of(old, strategy_name) == []
            assert meta_of(old) == kept_by(old, target)
            _finish(found, target)
        finally:
            old.close()

    at(Fate())  # the server may see these scripts for the first time, which costs commands more
    whole = Fate()
    at(whole)
    points = load.deaths(whole.sent)
    for k, when in points:
        at(Fate(k, when))
    record_property("crash points", len(points))


def _finish(found: Scene, target: str) -> None:
    """With the new strategy, everything comes to its end; its index has each task once."""
    world = World(found.world.settings.redis_url or "", found.world.keys.namespace, target)
    try:
        settle(found)
        assert sum(census.scheduled for census in world.strategy.census(world.store.queues())) == found.indexed
        bring_to_an_end(world, found)
    finally:
        world.close()


OPERATIONS: dict[str, Callable[[Scene, Namespace], object]] = {
    "dispatch": lambda found, actor: actor.strategy.dispatch(100),
    "take": lambda found, actor: actor.store.advance(Step("w3", ["q"], LEASE_US, want=2)),
    "ack": lambda found, actor: actor.store.advance(
        Step("w1", ["q"], LEASE_US, want=0, outcome=Outcome(found.claim, "ack"))
    ),
    "ack and take": lambda found, actor: actor.store.advance(
        Step("w1", ["q"], LEASE_US, outcome=Outcome(found.claim, "ack"))
    ),
    "retry": lambda found, actor: actor.store.advance(
        Step("w1", ["q"], LEASE_US, want=0, outcome=Outcome(found.claim, "retry"))
    ),
    "schedule": lambda found, actor: found.world.schedule("new", store=actor.store),
    "cancel a scheduled one": lambda found, actor: actor.store.cancel("far2"),
    "cancel a ready one": lambda found, actor: actor.store.cancel("ready"),
    "reschedule a scheduled one": lambda found, actor: actor.store.reschedule("far2", 0),
    "reschedule a ready one": lambda found, actor: actor.store.reschedule("ready", 0),
    "revive": lambda found, actor: actor.store.revive(["dead"]),
    "give back": lambda found, actor: actor.store.give_back(Loss("w2", "worker_lost", 9)),
}


@pytest.mark.in_turn
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    ("strategy_name", "to"),
    [("lua", "buckets"), ("keyspace", "watch"), ("watch", "lua"), ("tmpset", "keyspace"), ("buckets", "lua"),
     ("tmpset", "buckets")],
)  # fmt: skip
def test_a_migration_in_the_middle_of_anything_else(
    redis_url: str, strategy_name: str, target: str, name: str, load: Load
) -> None:
    """The whole migration happens just before the k-th command of the other one, for every k."""

    copied = scenes(redis_url, strategy_name)

    def at(k: int) -> int:
        found, sent = copied(f"amid{next(_numbers)}"), itertools.count(1)
        old = found.world

        def meanwhile() -> None:
            if next(sent) == k:
                migrate(old, target)

        try:
            actor = interrupted(old.actor(), meanwhile)
            try:
                answer = OPERATIONS[name](found, actor)
            except StrategyMismatch:
                answer = None
            count = next(sent) - 1
            if k:
                _conclude(found, name, answer, target)
            return count
        finally:
            old.close()

    at(0)  # the server may see these scripts for the first time, which costs commands more
    for k in load.of(range(1, at(0) + 1), every=4):
        at(k)


def _conclude(found: Scene, name: str, answer: object, target: str) -> None:
    """What was answered is true, and all else as it was."""
    world = World(found.world.settings.redis_url or "", found.world.keys.namespace, target)
    try:
        outcome = Outcome(found.claim, "retry" if name == "retry" else "ack")
        assert world.settle("w1", outcome) in ("done", "repeated", "missing")
        for worker in ("w1", "w3"):  # whoever is refused gives back what it holds
            world.store.give_back(Loss(worker, "unstarted", 9))
        if name == "retry":
            found.waiting.add("leased")
        if name == "schedule" and answer:
            found.waiting.add("new")
        if name == "cancel a scheduled one" and answer:
            found.far.remove("far2")
        if name == "reschedule a scheduled one" and answer:
            found.far.remove("far2")
            found.waiting.add("far2")
        if name == "cancel a ready one" and answer:
            found.waiting.remove("ready")
        if name == "revive" and answer:
            found.waiting.add("dead")
        bring_to_an_end(world, found)
    finally:
        world.close()
