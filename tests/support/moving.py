"""A namespace that moves from one strategy to another: tasks in every state before, and checks of them after."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from dueq import strategies
from dueq.core.clock import US
from dueq.core.config import Settings
from dueq.core.namespace import Namespace
from dueq.core.schema.record import Record
from dueq.core.store.strategy import fitting
from dueq.core.store.values import Loss, Outcome, Step
from dueq.core.upkeep import migration
from support.mortal import Fate, Killed, mortal
from support.waiting import wait_until
from support.world import LEASE_US, World

HOUR_US = 3600 * US
_INDEX = {
    "buckets": ("seconds:", "sizes:", "bucket:"),
    "keyspace": ("timer:keyspace:", "alarm:"),
    "tmpset": ("timer:tmpset:", "tmp:", "tmps", "wanted:"),
}


def visitor(world: World) -> Namespace:
    """The namespace, opened by a process that names no strategy."""
    return world.adopt(Namespace.open(Settings(redis_url=world.settings.redis_url, namespace=world.keys.namespace)))


def migrate(world: World, target: str) -> int:
    """Move the namespace, or complete a move. Returns how many tasks were moved."""
    begun = migration.begin(visitor(world), target)
    return 0 if begun is None else begun.run()


def meta_of(world: World) -> dict[str, str]:
    """The ``meta`` hash of the namespace: its owner, format and features."""
    found: Any = world.redis.hgetall(world.keys.plain("meta"))
    return {name.decode(): value.decode() for name, value in found.items()}


def kept_by(world: World, strategy: str, by: str = "engine") -> dict[str, str]:
    """The ``meta`` that a namespace of ``strategy`` should have outside of migrations, with the store of ``world`` if
    the strategy can use it."""
    store = fitting(strategies.find(strategy), world.strategy.store).store
    return {"strategy": strategy, "store": store, "by": by, "format": world.format, "features": ""}


def index_of(world: World, strategy: str) -> list[str]:
    """The existing keys of the index of ``strategy``."""
    found = [key.decode().removeprefix(world.keys.prefix) for key in world.found()]
    return sorted(key for key in found if key.startswith(_INDEX.get(strategy, (f"timer:{strategy}:",))))


def past(url: str, name: str, strategy: str) -> World:
    """A namespace whose clock is a little behind, so that tasks that are due there are due by any clock."""
    world = World(url, name, strategy)
    world.clock.ahead_us = -20 * US
    return world


@dataclass
class Scene:
    """Tasks in every state. The tasks ``waiting`` must run; those in ``far`` are due in an hour."""

    world: World
    waiting: set[str] = field(default_factory=set)
    far: set[str] = field(default_factory=set)
    started: Record | None = None
    held: Record | None = None
    indexed: int = 0

    @property
    def claim(self) -> Record:
        assert self.started is not None
        return self.started


def scene(world: World, near_us: int = 300_000) -> Scene:
    """Bring tasks into every state. Some are due ``near_us`` from now."""
    found = Scene(world)
    _beyond(found)
    _unclaimed(found)
    _popped(found)
    near_us += time.time_ns() // 1000
    world.schedule("near1", "near2", due_us=near_us)
    world.schedule("near3", queue="other", due_us=near_us)
    world.schedule("far1", "far2", due_us=near_us + HOUR_US)
    world.schedule("due1", "due2")
    assert world.store.reschedule("moved", near_us) is not None  # its entry in the ready list is void
    world.schedule("again", due_us=near_us + HOUR_US)  # so is this one's, under the same id
    found.waiting |= {"near1", "near2", "near3", "due1", "due2", "moved"}
    found.far = {"far1", "far2", "again"}
    found.indexed = sum(census.scheduled for census in world.strategy.census(["q", "other"]))
    return found


def scenes(url: str, strategy: str) -> Callable[[str], Scene]:
    """A function that makes a ``scene`` of due tasks in a namespace of the given name. Each is a copy of one original,
    since it takes many commands to bring tasks into every state."""
    original = past(url, f"scene-{strategy}", strategy)
    try:
        found = scene(original, 0)
        clock_us, prefix = original.clock.now_us(), len(original.keys.prefix.encode())
        redis: Any = original.redis
        kept = [(key[prefix:], max(0, redis.pttl(key)), redis.dump(key)) for key in original.found()]
    finally:
        original.close()

    def copied(name: str) -> Scene:
        world = World(url, name, strategy)
        world.clock.ahead_us = clock_us - world.clock.now_us()  # the moment at which the original was ready
        pipe = world.redis.pipeline(transaction=False)
        for key, expires_in_ms, value in kept:
            pipe.restore(world.keys.prefix.encode() + key, expires_in_ms, value)
        pipe.execute()
        return replace(found, world=world, waiting=set(found.waiting), far=set(found.far))

    return copied


def _beyond(found: Scene) -> None:
    """Add tasks that are started, held, failed, dead and ready, and two whose entries in the ready list are void."""
    world = found.world
    world.ready("retried", "dead", "leased", "held", "ready", "moved", "again", "gone")
    assert world.settle("w1", Outcome(world.started("w1"), "retry", delay_us=0)) == "done"
    assert world.settle("w1", Outcome(world.started("w1"), "dead", reason="on purpose")) == "done"
    step = world.take("w1", want=2)
    found.started, [found.held] = step.started, step.held
    for task_id in ("gone", "again"):
        assert world.store.cancel(task_id)
    found.waiting |= {"retried", "held", "ready"}


def _unclaimed(found: Scene) -> None:
    """A worker died after it took a task and before it claimed it, if the store does that in two steps."""
    world = found.world
    if world.scripted:
        return
    world.ready("unclaimed", queue="side")
    held = world.keys.of("held", "w2")
    for at in range(1, 30):
        with suppress(Killed):
            mortal(world.actor("w2"), Fate(at, "after")).store.advance(Step("w2", ["side"], LEASE_US))
        if world.redis.llen(held):
            found.waiting.add("unclaimed")
            return
    raise AssertionError("nothing was taken")


def _popped(found: Scene) -> None:
    """A dispatcher died with tasks in its tmp set, if its strategy has tmp sets."""
    world = found.world
    if world.settings.strategy != "tmpset":
        return
    world.schedule("popped", queue="side")
    for at in range(1, 30):
        with suppress(Killed):
            mortal(world.actor(f"gone{at}"), Fate(at, "after")).strategy.dispatch(100)
        if world.redis.zcard(world.keys.plain("tmps")):
            found.waiting.add("popped")
            return
    raise AssertionError("nothing was popped")


def touching_the_index(found: Scene) -> list[Callable[[], object]]:
    """All calls that must be refused once another strategy or another store owns the namespace."""
    main, claim = found.world.main, found.claim
    raw = main.store.shards([main.keys.record("far1")])["far1"]
    return [
        lambda: found.world.schedule("new"),
        lambda: found.world.schedule(*(f"new{number}" for number in range(250))),
        lambda: main.store.cancel("far1"),
        lambda: main.store.cancel("ready"),
        lambda: main.store.reschedule("far1", 0),
        lambda: main.store.mend("far1", raw),
        lambda: main.store.revive(["dead"]),
        lambda: main.store.advance(Step("w1", ["q"], LEASE_US)),
        lambda: main.store.advance(Step("w1", ["q"], LEASE_US, outcome=Outcome(claim, "ack"))),
        lambda: main.store.advance(Step("w1", (), LEASE_US, want=0, outcome=Outcome(claim, "retry"))),
        lambda: main.strategy.dispatch(100),
        lambda: main.claim(),
    ]


def settle(found: Scene, world: World | None = None) -> None:
    """End the worker that lives: it acks its running task, and gives back its held task."""
    store = (world or found.world).store
    assert store.advance(Step("w1", (), LEASE_US, want=0, outcome=Outcome(found.claim, "ack"))).settled == "done"
    assert [lost.id for lost in store.give_back(Loss("w1", "unstarted", 9))] == ["held"]


def bring_to_an_end(world: World, found: Scene) -> None:
    """Check under the new strategy that each task runs once (the far ones after a reschedule), and no key is left."""
    world.store.give_back(Loss("w2", "worker_lost", 9))
    assert not world.store.cancel("gone")
    far = sorted(found.far)
    assert world.store.cancel(far[0])
    for task_id in far[1:]:
        assert world.store.reschedule(task_id, 0) is not None
    runs: Counter[str] = Counter()

    def all_ran() -> bool:
        runs.update(record.id for record in world.drain())
        return runs.keys() >= found.waiting | set(far[1:])

    wait_until(all_ran, 10, what="all have run")
    assert runs == dict.fromkeys(found.waiting | set(far[1:]), 1)
    dead = world.store.revive(["dead"])
    assert [record.id for record in world.drain()] == ["dead"] * dead
    assert dead != ("dead" in found.waiting)
    left = world.leftovers()
    assert left == [], left
