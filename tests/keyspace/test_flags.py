"""The flags that events need are added to those that are set, and checked again and again."""

from __future__ import annotations

import pytest
from support.waiting import wait_until
from support.world import World

from dueq.core.client.keyspace_events import SETTING, flags, missing
from dueq.core.store import requirements

from .conftest import IN_TIME_S, Make, next_lateness


def _set(world: World, value: str) -> None:
    world.redis.config_set(SETTING, value)


@pytest.mark.parametrize(
    ("found", "lacking"),
    [("", "Kx"), ("AKE", ""), ("Elg", "Kx"), ("Kx", ""), ("KA", ""), ("AE", "K"), ("xE", "K"), ("Kg", "x")],
)
def test_what_is_missing(found: str, lacking: str) -> None:
    assert missing(found, "Kx") == lacking


@pytest.mark.parametrize("before", ["", "Elg", "KEA", "Kx"])
def test_flags_are_added_never_replaced(make: Make, before: str) -> None:
    world = make(f'{SETTING} "{before}"')
    requirements.check(world.redis, type(world.strategy), world.keys)
    assert set(flags(world.redis) or "") == set(before.replace("KEA", "AKE")), "to ask changes nothing"
    world.strategy.wait(0.01)
    after = flags(world.redis) or ""
    assert missing(after, "Kx" + before.replace("A", "")) == ""


def test_flags_are_added_again_after_a_reset_and_a_reconnect(make: Make) -> None:
    world = make()
    world.strategy.wait(0.01)
    _set(world, "")
    world.redis.client_kill_filter(_type="pubsub")
    world.strategy.wait(0.01)
    wait_until(lambda: world.strategy.wait(0.05) is None and missing(flags(world.redis) or "", "Kx") == "")


def test_without_flags_tasks_are_on_time_and_the_flags_come_back(make: Make) -> None:
    world = make()
    world.strategy.dispatch(100)
    world.strategy.wait(0.01)
    _set(world, "")
    for number in range(3):
        world.schedule(f"t{number}", delay_us=150_000)
        late = next_lateness(world)
        assert late < IN_TIME_S, "the index is looked at in time, whatever the events do"
        world.strategy.wait(1.1)
    assert missing(flags(world.redis) or "", "Kx") == ""
