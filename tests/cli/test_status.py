"""``dueq status``: who serves the namespace, warnings, and thousands of queues."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.world import World

from dueq.core.clock import US
from dueq.core.store.values import ALIVE_S
from dueq.core.upkeep import engines as registry
from dueq.core.upkeep.engines import Process, Role, Served

from .conftest import Cli

HOUR = 3600 * US


def engine(world: World, *, queues: tuple[str, ...] = ("q",), dispatcher: str = "ready", seen_s: float = 0.0) -> None:
    """A supervisor as the registry has it, heard of last ``seen_s`` ago."""
    roles = {
        "worker": Role(2, (Process("w7", 4711, "ready"), Process("w8", 4712, "booting"))),
        "dispatcher": Role(1, (Process("d1", 4713, dispatcher),)),
    }
    about = registry.about_me("9.9", "lua", world.now_us() - HOUR)
    registry.enter(world.main, "supervisor.1", about, roles, Served(queues, dict.fromkeys(("a", "b"), "q")))
    until = world.now_us() + round((ALIVE_S - seen_s) * US)
    world.redis.zadd(world.keys.plain("supervisors"), {"supervisor.1": until})


@pytest.fixture(autouse=True)
def _leave(world: World) -> Any:
    yield
    registry.leave(world.main, "supervisor.1")


def test_who_serves_it(cli: Cli, world: World) -> None:
    engine(world)
    world.ready("a")
    world.started("w7")
    said = cli("status").out
    assert "pid " in said
    assert "since 1 h: 1 of 2 workers ready, 1 of 1 dispatchers ready; serves q; last sign of life" in said
    assert "w7 (pid 4711 on " in said
    assert "warning" not in said
    found = cli("status", "--json").json
    [one] = found["supervisors"]
    assert (one["alive"], one["version"], one["queues"], one["tasks"]) == (True, "9.9", ["q"], 2)
    assert one["roles"]["worker"]["processes"][0] == {"name": "w7", "pid": 4711, "state": "ready"}
    assert found["warnings"] == []


@pytest.mark.leaves_keys
def test_what_nobody_could_read(cli: Cli, world: World) -> None:
    found = cli("status", "--json").json
    assert (found["newer"], found["quarantined"]) == (0, {"record": 0, "entry": 0, "key": 0, "field": 0})
    said = cli("status").out
    assert "quarantine" not in said
    assert "newer" not in said
    for id, raw in (("newer", b"99|S|whatever"), ("bad1", b"rubbish"), ("bad2", b"")):
        world.redis.hset(world.keys.record(id), id, raw)
        world.redis.lpush(world.keys.of("ready", "q"), id)
    world.redis.lpush(world.keys.of("ready", "q"), b"\xff")
    world.take(want=9)
    found = cli("status", "--json").json
    assert (found["newer"], found["quarantined"]) == (1, {"record": 2, "entry": 1, "key": 0, "field": 0})
    said = " ".join(cli("status").out.split())
    assert "1 task set aside, written by a newer dueq: upgrade dueq here to run them" in said
    assert "in quarantine, since it could not be read: record 2, entry 1; dueq quarantine lists it" in said


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="needs to know the boot")
def test_one_that_was_killed_on_this_host_is_gone_at_once(cli: Cli, world: World) -> None:
    """It cannot say that it has ended; for 45 s it would be shown with all its workers ready."""
    engine(world)
    world.schedule("a", delay_us=HOUR)
    assert "warning" not in cli("status").out
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    gone = replace(registry.about_me("9.9", "lua", world.now_us() - HOUR), pid=ended.pid)
    there = {"worker": Role(1, (Process("w7", 4711, "ready"),))}
    registry.enter(world.main, "supervisor.1", gone, there, Served(("q",), {"a": "q"}))
    said = cli("status").out
    assert "warning: no supervisor is alive" in said
    assert f"pid {ended.pid}, dueq 9.9: its process is gone; last sign of life" in said
    elsewhere = replace(gone, boot="another")  # there that pid is somebody else's
    registry.enter(world.main, "supervisor.1", elsewhere, there, Served(("q",), {"a": "q"}))
    assert cli("status", "--json").json["supervisors"][0]["alive"] is True


def test_nobody_does(cli: Cli, world: World) -> None:
    assert cli("status", "--json").json["warnings"] == [], "nor is there anything to do"
    world.schedule("a", delay_us=HOUR)
    assert "warning: no supervisor is alive" in cli("status").out
    engine(world, seen_s=ALIVE_S + 100)
    said = cli("status").out
    assert "warning: no supervisor is alive" in said
    assert "no sign of life for 2 m 25 s" in said
    assert cli("status", "--json").json["supervisors"][0]["alive"] is False


def test_what_nobody_serves(cli: Cli, world: World) -> None:
    engine(world, queues=("other",))
    world.schedule("later", delay_us=HOUR)
    assert cli("status", "--json").json["warnings"] == []
    world.ready("a")
    assert "no live worker serves q, where tasks are due" in cli("status").out


def test_nobody_dispatches(cli: Cli, world: World) -> None:
    engine(world, dispatcher="booting")
    assert "warning: no dispatcher is alive" in cli("status").out


def test_after_thousands_it_does_not_say_never(cli: Cli, world: World) -> None:
    assert "no task was ever scheduled here" in cli("status").out
    world.ready("a")
    world.drain()
    assert world.store.forget_queue("q", 1)
    said = cli("status").out
    assert "there are no tasks now" in said
    assert "ever" not in said


@pytest.mark.long
def test_ten_thousand_queues_are_read_at_once_and_shown_in_a_screen(cli: Cli, world: World) -> None:
    queues = [f"queue{number}" for number in range(10_000)]
    world.redis.sadd(world.keys.plain("queues"), *queues)
    world.schedule("a", "b", queue="queue77", delay_us=HOUR)
    began = time.process_time()
    said = cli("status").out
    seconds = time.process_time() - began
    print(f"status with 10,000 queues: {seconds:.2f} s of CPU here")
    assert "(9,980 more: --all)" in said
    assert "queue77 " in said
    assert len(said.splitlines()) < 40
    assert seconds < 4, "it was 14 to 31 s with a fifth of them"
    assert len(cli("status", "--all").out.splitlines()) > 10_000
    world.redis.delete(world.keys.plain("queues"))
    world.redis.sadd(world.keys.plain("queues"), "queue77")
