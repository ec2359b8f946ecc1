"""Managed servers: what counts is whether events come; if they do not, the error names the setting and its value."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from redis.exceptions import ResponseError
from support.engine import APPS
from support.servers import Server, server_parameters
from support.world import World

from dueq.cli.exits import exit_code
from dueq.core.client.keyspace_events import SETTING, flags
from dueq.core.errors import StrategyUnavailable
from dueq.core.store import requirements

from .conftest import IN_TIME_S, Make, next_lateness

each_server = pytest.mark.parametrize("server", server_parameters())


def _refusal(world: World) -> str:
    with pytest.raises(StrategyUnavailable) as caught:
        requirements.check(world.redis, type(world.strategy), world.keys)
    return str(caught.value)


def _told_value(message: str) -> set[str]:
    """The flags that the message says to set."""
    return set(message.partition(f"set {SETTING} to ")[2].split()[0].rstrip(","))


@each_server
def test_events_that_come_will_do_though_config_is_refused(make: Make, server: Server) -> None:
    world = make('rename-command CONFIG ""', f"{SETTING} Kx", server=server)
    with pytest.raises(ResponseError):
        world.redis.config_get(SETTING)
    requirements.check(world.redis, type(world.strategy), world.keys)
    world.schedule("a", delay_us=50_000)
    assert next_lateness(world) < IN_TIME_S
    assert [key for key in world.redis.keys("*") if b"probe" in key] == []


@each_server
def test_without_config_and_without_events_the_setting_is_named(make: Make, server: Server) -> None:
    world = make('rename-command CONFIG ""', f"{SETTING} Elg", server=server)
    message = _refusal(world)
    assert _told_value(message) == set("Kx")
    assert "beside what it is set to now" in message
    # and even so nothing is lost: the index has the tasks
    world.schedule("a", delay_us=50_000)
    assert next_lateness(world) < IN_TIME_S


@each_server
def test_where_config_is_allowed_to_ask_changes_nothing(make: Make, server: Server) -> None:
    world = make(f"{SETTING} Elg", server=server)
    requirements.check(world.redis, type(world.strategy), world.keys)
    assert set(flags(world.redis) or "") == set("Elg")


def test_a_user_who_may_not_set_is_told_the_whole_value(make: Make) -> None:
    world = make(f"{SETTING} Elg", "user default on nopass ~* &* +@all -config|set")
    message = _refusal(world)
    assert _told_value(message) == set("ElgKx")
    assert "NOPERM" in message or "no permissions" in message.lower()
    world = make(f"{SETTING} KA", "user default on nopass ~* &* +@all -config|set")
    requirements.check(world.redis, type(world.strategy), world.keys)


def test_a_user_who_may_not_subscribe_is_told_so(make: Make) -> None:
    world = make(f"{SETTING} Kx", "user default on nopass ~* resetchannels +@all")
    message = _refusal(world)
    assert "PSUBSCRIBE is refused" in message
    assert f"+psubscribe &__keyspace@0__:{world.keys.of('alarm', '')}*" in message  # its own channel, not all
    world = make("user default on nopass ~* &* +@all -psubscribe")
    assert "PSUBSCRIBE is refused" in _refusal(world)


def test_a_user_who_may_not_try_it_is_told_so(make: Make) -> None:
    world = make("user default on nopass ~dueq:{events}:* &* +@all -config")
    message = _refusal(world)
    assert "CONFIG GET is refused" in message
    assert _told_value(message) == set("Kx")


def _dueq(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DUEQ_REDIS_URL": world.settings.redis_url or "", "LEDGER": os.devnull}
    command = [sys.executable, "-m", "dueq", *arguments]
    return subprocess.run(command, cwd=APPS, env=environment, capture_output=True, text=True, timeout=30)


def test_dueq_run_ends_and_says_what_to_set(make: Make) -> None:
    world = make('rename-command CONFIG ""')
    run = _dueq(world, "run", "sample:app", "--strategy", "keyspace", "--metrics-port", "0")
    assert run.returncode == exit_code(StrategyUnavailable(""))
    said = " ".join(run.stderr.split())
    assert f"set {SETTING} to Kx" in said
    assert "Traceback" not in said
    assert world.redis.hget(world.keys.plain("meta"), "strategy") is None, "and the namespace is nobody's yet"


def test_doctor_says_the_same(make: Make) -> None:
    for options, can_run in [((), False), ((f"{SETTING} Kx",), True)]:
        world = make('rename-command CONFIG ""', *options)
        doctor = _dueq(world, "doctor", "--strategy", "keyspace", "--json")
        report: dict[str, Any] = json.loads(doctor.stdout)
        [view] = [view for view in report["strategies"] if view["name"] == "keyspace"]
        assert view["can_run"] is can_run
        if not can_run:
            assert doctor.returncode != 0
            assert f"set {SETTING} to Kx" in view["obstacles"][0]["remedy"]
