"""Measurements that need the machine to themselves: run by ``make test`` after the others, one at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import ModuleType

import psutil
import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq.core.connection import connect
from dueq.replay import floor

pytestmark = pytest.mark.alone

IDLE_S = 60
MOST_COMMANDS_PER_PROCESS = 0.5
MOST_LATE_P99_S = 0.010


def test_an_idle_minute_costs_next_to_nothing(engine: Engine, sample: ModuleType) -> None:
    """One task an hour away: at most half a command a second and process, script calls included; no busy CPU."""
    supervisor = engine.run("--workers", "4")
    sample.nap.after(3600)(0.0)
    processes = [child for child in engine.children(supervisor) if "resource_tracker" not in " ".join(child.cmdline())]
    assert len(processes) == 6
    client = connect(engine.url)
    wait_until(lambda: all(sum(child.cpu_times()[:2]) > 0 for child in processes), 10)
    time.sleep(2)  # what the start itself costs is over
    commands, cpu, began = _commands(client.info("commandstats")), _cpu(processes), time.monotonic()
    time.sleep(IDLE_S)
    commands = _commands(client.info("commandstats")) - commands - 1
    cpu, seconds = _cpu(processes) - cpu, time.monotonic() - began
    rate = commands / seconds / len(processes)
    print(f"idle for {seconds:.0f} s: {rate:.2f} commands/s and process, {1000 * cpu / seconds:.2f} ms CPU/s in all")
    assert rate <= MOST_COMMANDS_PER_PROCESS
    assert cpu / seconds < 0.01 * len(processes)


def test_a_hundred_tasks_a_second_are_on_time(engine: Engine, sample: ModuleType) -> None:
    """Due to started, by the tasks' own clock, beside the wake-up of a blocked client measured in the same run."""
    engine.run("--workers", "2")
    wake = floor.measure(engine.url, "floor")
    sample.app.schedule_many([sample.nap.call_after(1 + n * 0.01)(0.0) for n in range(2000)])
    wait_until(lambda: engine.ended() == 2000, 60)
    late = sorted((int(start[0]) - int(start[1])) / 1e6 for run in engine.runs().values() for start in run.starts)
    p50, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
    print(f"late p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms, max {1000 * late[-1]:.2f} ms; wake-up of a blocked "
          f"client: {wake}")  # fmt: skip
    assert late[0] >= 0, "early"
    assert len(late) == 2000
    assert p99 <= MOST_LATE_P99_S


def _commands(stats: Mapping[str, Mapping[str, int]]) -> int:
    return sum(entry["calls"] for entry in stats.values())


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
