"""The ``meta`` hash of a namespace: written with the first task or by an engine, and checked before anything else.

The rule: every step that may write to the index, and every process that opens a namespace, checks its format and its
features first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.moving import kept_by, meta_of
from support.world import World

from dueq.core.errors import NamespaceTooNew, StrategyYields
from dueq.core.namespace import Namespace
from dueq.core.schema.format import FORMATS
from dueq.core.store.values import Outcome

_NEWER: list[tuple[dict[Any, Any], str]] = [
    ({"format": "99"}, "format 99"),
    ({"features": "flows,limits"}, "flows, limits"),
    ({"store": "celestial"}, "celestial store"),
]

_STEPS: dict[str, Callable[[World], object]] = {
    "schedule": lambda world: world.schedule("new"),
    "schedule 250": lambda world: world.schedule(*(f"new{number}" for number in range(250))),
    "cancel": lambda world: world.store.cancel("waits"),
    "reschedule": lambda world: world.store.reschedule("waits", 0),
    "revive": lambda world: world.store.revive(["dead"]),
    "take": lambda world: world.take(),
    "dispatch": lambda world: world.strategy.dispatch(10),
    "mend": lambda world: world.store.mend("waits", b""),
    "forget a queue": lambda world: world.store.forget_queue("nothing", 0),
    "forget void entries": lambda world: world.store.forget_revoked({"waits": 1}),
    "claim the namespace": lambda world: world.main.claim(),
    "open": lambda world: world.actor(),
    "open for no strategy": lambda world: Namespace.open(replace(world.settings, strategy=None)),
}


def test_a_producer_writes_it_with_the_first_task(world: World, strategy_name: str) -> None:
    world.schedule("a", "b")
    assert meta_of(world) == kept_by(world, strategy_name, "producer")
    world.main.claim()
    assert meta_of(world) == kept_by(world, strategy_name)
    world.schedule("c")
    assert meta_of(world) == kept_by(world, strategy_name), "and a producer does not take it back"


def test_an_engine_writes_it_before_the_first_task(world: World, strategy_name: str) -> None:
    world.main.claim()
    assert meta_of(world) == kept_by(world, strategy_name)


def test_an_engine_fills_in_what_an_older_dueq_did_not_write(world: World, strategy_name: str) -> None:
    world.redis.hset(world.keys.plain("meta"), "strategy", strategy_name)
    world.redis.hdel(world.keys.plain("meta"), "format")
    world.schedule("a")
    assert meta_of(world) == {"strategy": strategy_name}
    world.main.claim()
    assert meta_of(world) == kept_by(world, strategy_name) | {"format": FORMATS[0]}


def test_a_claim_of_what_is_claimed_writes_nothing(world: World) -> None:
    world.main.claim()
    world.redis.config_set("maxmemory", 1)
    try:
        world.main.claim()
    finally:
        world.redis.config_set("maxmemory", 0)


def test_what_a_producer_chose_is_called_so(world: World) -> None:
    for name, value in (("strategy", "other"), ("by", "producer")):  # HSET took one field before Redis 4
        world.redis.hset(world.keys.plain("meta"), name, value)
    for step in (lambda: world.schedule("a"), world.main.claim, world.actor, lambda: world.store.cancel("a")):
        with pytest.raises(StrategyYields, match="owned by strategy 'other'"):
            step()
    world.redis.delete(world.keys.plain("meta"))


@pytest.mark.parametrize(("fields", "named"), _NEWER)
@pytest.mark.parametrize("step", _STEPS)
def test_a_newer_namespace_is_left_alone(world: World, step: str, fields: dict[Any, Any], named: str) -> None:
    world.ready("dead", "runs")
    claim = world.started()
    world.settle("w1", Outcome(claim, "dead"))
    claim = world.started()
    world.schedule("waits", delay_us=3600_000_000)
    for name, value in fields.items():
        world.redis.hset(world.keys.plain("meta"), name, value)
    before = world.redis.dbsize(), meta_of(world), world.states()
    with pytest.raises(NamespaceTooNew, match=f"{named}.*upgrade dueq"):
        _STEPS[step](world)
    assert (world.redis.dbsize(), meta_of(world), world.states()) == before
    assert world.settle("w1", Outcome(claim, "ack")) == "done", "what runs may end"
    world.redis.delete(world.keys.plain("meta"))
