"""A step that waited behind a long sleep takes nothing once its supervisor is silent; a worker that is there does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from redis.exceptions import ResponseError
from support.world import LEASE_US, World

from dueq.core.clock import US
from dueq.core.namespace import Namespace
from dueq.core.schema.bounds import ALIVE_US, FRESH_US
from dueq.core.store.base import Store
from dueq.core.store.scripted.channel import advanced, is_doubted, step_arguments
from dueq.core.store.scripted.store import ScriptedStore
from dueq.core.store.tokens import SeenTokens
from dueq.core.store.values import Advance, Look, Step
from dueq.core.upkeep import engines
from dueq.core.upkeep.foreign_keys import put_apart

pytestmark = [pytest.mark.scripted, pytest.mark.leaves_keys, pytest.mark.in_turn]

SUPERVISOR = "supervisor.host.1.abc"

Seen = Callable[[World], object]


def seen(world: World, seconds_ago: float) -> None:
    """The last sign of life was so long ago."""
    seconds, micros = cast(Any, world.redis).time()
    until = seconds * US + micros + ALIVE_US - round(seconds_ago * US)
    world.redis.zadd(world.keys.plain("supervisors"), {SUPERVISOR: until})


SILENT: dict[str, Seen] = {
    "unknown": lambda world: None,
    "silent": lambda world: seen(world, FRESH_US / US + 0.1),
    "long dead": lambda world: seen(world, 3600),
    "ahead, since the clock was set back": lambda world: seen(world, -10),
    "a foreign key": lambda world: world.redis.set(world.keys.plain("supervisors"), "foreign"),
}
ALIVE: dict[str, Seen] = {
    "just now": lambda world: seen(world, 0),
    "a while ago": lambda world: seen(world, FRESH_US / US - 1),
}


class Asks:
    """A watch that has the sleep end soon."""

    supervisor = SUPERVISOR

    def __init__(self) -> None:
        self.began = self.ended = 0

    def begin(self) -> None:
        self.began += 1

    def end(self) -> None:
        self.ended += 1

    def rest(self) -> float:
        return 0.5

    def kept(self, look: Callable[[Sequence[str]], Look]) -> bool:
        return False


def waited(world: World, *queues: str, store: Store | None = None) -> tuple[bool, Advance]:
    """What a step does that waited in Redis: whether it was doubted, and what it took."""
    store, step = cast(ScriptedStore, store or world.store), Step("w1", queues, LEASE_US)
    reply = store._advance(*step_arguments(step, 0, store._names, SUPERVISOR))
    return is_doubted(reply), advanced(reply, step, SeenTokens())


def wakeups(world: World, name: str) -> int:
    return int(cast(Any, world.redis).llen(world.keys.of("wakeup", name)))


@pytest.mark.parametrize("last", SILENT)
@pytest.mark.parametrize("full", [False, True])
def test_it_takes_nothing_and_wakes_the_next(world: World, last: str, full: bool) -> None:
    world.main.claim()
    world.ready("a", queue="q2")
    SILENT[last](world)
    world.redis.delete(world.keys.of("wakeup", "q2"))  # the step's own request has taken it
    if full:
        world.redis.config_set("maxmemory", "1")
    try:
        doubted, step = waited(world, "q1", "q2")
    finally:
        world.redis.config_set("maxmemory", "0")
    assert doubted
    assert (step.started, step.held, step.holding) == (None, [], 0)
    assert (wakeups(world, "q1"), wakeups(world, "q2")) == (0, 1)
    assert world.states("q2")["ready"] == 1
    assert world.started("w2", "q2").id == "a"


def test_it_wakes_the_next_that_knows_what_was_put_aside(world: World) -> None:
    world.main.claim()
    world.ready("a", calls="known")
    stranger, knowing = world.actor(), world.actor()
    stranger.store.knows(["other"])
    knowing.store.knows(["known"])
    assert world.take("w2", store=stranger.store).aside
    names = cast(ScriptedStore, knowing.store)._names.field
    world.redis.delete(world.keys.of("wakeup", names))
    doubted, step = waited(world, "q", store=knowing.store)
    assert doubted
    assert step.started is None
    assert wakeups(world, names) == 1


def test_where_nothing_is_ready_nobody_is_woken(world: World) -> None:
    world.main.claim()
    assert waited(world, "q")[0]
    assert wakeups(world, "q") == 0


@pytest.mark.parametrize("last", ALIVE)
def test_it_takes_tasks_while_its_supervisor_lives(world: World, last: str) -> None:
    world.main.claim()
    world.ready("a")
    ALIVE[last](world)
    doubted, step = waited(world, "q")
    assert not doubted
    assert step.started is not None


@pytest.mark.parametrize("last", [*SILENT, *ALIVE])
def test_a_worker_that_is_there_takes_it_in_any_case(world: World, last: str) -> None:
    world.main.claim()
    world.ready("a")
    (SILENT | ALIVE)[last](world)
    watch, channel = Asks(), world.adopt(Namespace.open(world.settings)).store.channel(["q"])
    try:
        assert channel.sleep(Step("w1", ["q"], LEASE_US), 5.0, watch) == "sent"
        step = channel.receive()
        assert step.started is not None
        assert step.started.id == "a"
        if watch.began:  # then it takes short sleeps for a while, if its supervisor is silent
            assert channel.sleep(Step("w1", ["q"], LEASE_US), 1.0, watch) == "sent"
            assert channel.receive().started is None
            assert watch.began == (1 if last in SILENT else 2)
    finally:
        channel.close()
    assert watch.began == watch.ended


def test_a_foreign_key_in_the_place_of_its_own_wakeup_is_put_apart(world: World) -> None:
    """Until then, the worker takes short sleeps."""
    world.main.claim()
    roles = {"worker": engines.Role(1, (engines.Process("w1", 1, "ready"),))}
    about = engines.about_me("1", world.strategy.name, 0)
    engines.enter(world.main, "s1", about, roles, engines.Served((), {}))
    key = world.keys.bell_of("w1")
    world.redis.set(key, "foreign")
    watch, channel = Asks(), world.adopt(Namespace.open(world.settings)).store.channel(["q"])
    step = Step("w1", ["q"], LEASE_US)
    try:
        if channel.sleep(step, 1.0, watch) == "sent" and watch.began:
            with pytest.raises(ResponseError):
                channel.receive()
            assert channel.sleep(step, 1.0, watch) == "sent"
            assert channel.receive().started is None
            assert watch.began == 1
    finally:
        channel.close()
    world.redis.set(key, "foreign")
    found = [name for names in put_apart(world.main) for name in names]
    assert found == [key.removeprefix(world.keys.prefix)]
    assert not world.redis.exists(key)
