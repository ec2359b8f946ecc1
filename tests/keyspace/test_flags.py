"""The flags that events need are added to those that are set, looked after, and asked for in clear words."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError
from support.waiting import wait_until
from support.world import World

from dueq.core import requirements
from dueq.core.errors import StrategyUnavailable
from dueq.core.notifications import SETTING, flags, missing

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
    requirements.check(world.redis, type(world.strategy))
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


def test_a_server_that_refuses_config_but_sends_events_will_do(make: Make) -> None:
    world = make('rename-command CONFIG ""', f"{SETTING} Kx")
    with pytest.raises(ResponseError):
        world.redis.config_get(SETTING)
    requirements.check(world.redis, type(world.strategy))
    world.schedule("a", delay_us=50_000)
    assert next_lateness(world) < IN_TIME_S


def test_a_server_that_refuses_config_and_sends_none_is_refused_naming_the_setting(make: Make) -> None:
    world = make('rename-command CONFIG ""')
    with pytest.raises(StrategyUnavailable, match=rf"set {SETTING} to Kx"):
        requirements.check(world.redis, type(world.strategy))
    # and even so nothing is lost: the index has the tasks
    world.schedule("a", delay_us=50_000)
    assert next_lateness(world) < IN_TIME_S


def test_a_user_who_may_not_set_is_told_the_whole_value(make: Make) -> None:
    world = make(f"{SETTING} Elg", "user default on nopass ~* &* +@all -config|set")
    with pytest.raises(StrategyUnavailable) as caught:
        requirements.check(world.redis, type(world.strategy))
    assert SETTING in str(caught.value)
    wanted = str(caught.value).partition(f"set {SETTING} to ")[2].split()[0]
    assert set(wanted) == set("ElgKx")
