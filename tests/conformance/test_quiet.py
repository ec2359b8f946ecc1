"""Before a worker sleeps on without a look, two plain commands say whether it would find anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest
from support.world import LEASE_US, World

from dueq.core.errors import DueqError
from dueq.core.namespace import Namespace
from dueq.core.store.base import Store
from dueq.core.store.crowds import served
from dueq.core.store.values import Look, Outcome, Step

pytestmark = [pytest.mark.scripted, pytest.mark.leaves_keys, pytest.mark.in_turn]


SUPERVISOR = "supervisor.host.1.abc"


class Asks:
    """A watch that asks at once, for all of ``workers``, and then has the sleep end."""

    supervisor = SUPERVISOR

    def __init__(self, *workers: str) -> None:
        self._workers = workers or ("w1",)
        self.began, self.said = 0, list[Look]()

    def begin(self) -> None:
        self.began += 1

    def end(self) -> None:
        assert self.began

    def rest(self) -> float:
        return 0.0

    def kept(self, look: Callable[[Sequence[str]], Look]) -> bool:
        self.said.append(look(self._workers))
        return False


def real(world: World) -> Store:
    """A store that goes by the server's clock, as in an engine."""
    return world.adopt(Namespace.open(world.settings)).store


def is_quiet(world: World, *queues: str, store: Store | None = None, workers: Sequence[str] = ()) -> bool:
    watch, channel = Asks(*workers), (store or real(world)).channel(queues)
    try:
        how = channel.sleep(Step("w1", queues, LEASE_US), 1.0, watch)
    finally:
        channel.close()
    if not watch.began:
        pytest.skip("on this server, each worker looks for itself")
    assert how == "sent"
    [look] = watch.said
    assert look.sent_ns < look.received_ns <= time.monotonic_ns()
    return look.quiet


def test_a_task_that_is_scheduled_breaks_no_quiet(world: World) -> None:
    world.main.claim()
    world.schedule("far", delay_us=3600_000_000)
    assert is_quiet(world, "q", "other")


def test_whatever_is_ready_breaks_it(world: World) -> None:
    world.main.claim()
    assert is_quiet(world, "q", "other")
    world.ready("a", queue="other")
    world.redis.delete(world.keys.plain("busy"), world.keys.of("wakeup", "other"))
    assert is_quiet(world, "q"), "it serves another queue"
    assert not is_quiet(world, "q", "other")


def test_what_was_put_aside_breaks_it(world: World) -> None:
    world.main.claim()
    world.ready("a", calls="unknown")
    stranger = world.actor()
    stranger.store.knows(["f"])
    assert world.take("w2", store=stranger.store).aside
    assert not is_quiet(world, "q")


def test_a_task_held_in_its_name_breaks_it(world: World) -> None:
    world.main.claim()
    world.ready("a", "b")
    step = world.take("w1", want=2)
    assert [claim.id for claim in step.held] == ["b"]
    assert not is_quiet(world, "q")
    assert not is_quiet(world, "q", workers=["w2", "w1", "w3"]), "the look is for other workers, too"
    assert is_quiet(world, "q", workers=["w2", "w3"])
    for claim in (step.started, *step.held):
        assert claim is not None
        assert world.settle("w1", Outcome(claim, "ack")) == "done"
    assert is_quiet(world, "q")


def test_names_that_are_gone_break_it(world: World) -> None:
    world.main.claim()
    knowing = real(world)
    knowing.knows(["f"])
    assert is_quiet(world, "q", store=knowing)
    redis, meta = cast(Any, world.redis), world.keys.plain("meta")
    [field] = [name for name in redis.hkeys(meta) if name.startswith(b"names:")]
    redis.hdel(meta, field)
    assert not is_quiet(world, "q", store=knowing)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "other"),
        ("store", "transactional"),
        ("from", "other"),
        ("format", "9"),
        ("features", "novel"),
        ("by", "producer"),
        ("strategy", None),
    ],
)
def test_whatever_is_not_as_the_engine_left_it_breaks_it(world: World, field: str, value: str | None) -> None:
    world.main.claim()
    store, meta = real(world), world.keys.plain("meta")
    if value is None:
        world.redis.hdel(meta, field)
    else:
        world.redis.hset(meta, field, value)
    with suppress(DueqError):
        assert not is_quiet(world, "q", store=store)


def test_on_a_full_redis_the_sleep_ends_too(world: World) -> None:
    world.main.claim()
    watch, channel = Asks(), real(world).channel(["q"])
    world.redis.config_set("maxmemory", "1")
    try:
        how = channel.sleep(Step("w1", ["q"], LEASE_US), 1.0, watch)
    finally:
        world.redis.config_set("maxmemory", "0")
        channel.close()
    assert how in (("sent",) if watch.began else ("sent", "quiet"))


def test_a_supervisor_lives_on_a_full_redis(world: World) -> None:
    store = real(world)
    world.redis.config_set("maxmemory", "1")
    try:
        assert store.alive("s1")
        assert not store.alive("s1")
    finally:
        world.redis.config_set("maxmemory", "0")


def test_workers_of_very_many_queues_look_for_themselves(world: World) -> None:
    queues = served([f"q{number}" for number in range(20)], in_turns=True)
    watch, channel = Asks(), real(world).channel(queues)
    try:
        assert channel.sleep(Step("w1", queues, LEASE_US), 1.0, watch) == "quiet", "the set was missing, and is written"
        if channel.sleep(Step("w1", queues, LEASE_US), 1.0, watch) == "sent":  # not so before Redis 5
            assert channel.receive().started is None
    finally:
        channel.close()
    assert watch.began == 0
