"""Measurements that need the machine to themselves: run by ``make test`` after the others, one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq import Dueq, strategies
from dueq.core.client.connection import connect
from dueq.harness import floor

pytestmark = pytest.mark.alone

IDLE_S = 60
MOST_COMMANDS = {"lua": 1.0}
"""A second, from all processes together, under the default strategy. The others ask for more when they dispatch."""
MOST_COMMANDS_OTHERS = 1.5
MOST_LATE_P99_S = {"lua": 0.010}
"""The target of the default strategy. The others take more round trips a task: within the same order."""
MOST_LATE_OTHERS_P99_S = 0.030
TASKS = 1000


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[dict[str, Engine]]:
    """An engine for each strategy, each over a server of its own."""
    found: dict[str, Engine] = {}
    try:
        for name in strategies.names():
            (tmp_path / name).mkdir()
            found[name] = Engine(tmp_path / name)
        yield found
    finally:
        for engine in found.values():
            engine.close()


@pytest.mark.timeout(240)
def test_an_idle_minute_costs_next_to_nothing(engines: dict[str, Engine]) -> None:
    """One task an hour away: about one command a second from all six processes, script calls included; no busy CPU.

    All five idle at the same time: that is what idle means.
    """
    processes: dict[str, list[psutil.Process]] = {}
    for name, engine in engines.items():
        supervisor = engine.run("--workers", "4", "--strategy", name)
        Dueq(engine.url).schedule_task(time.time() + 3600, "far")
        processes[name] = engine.children(supervisor)
        assert len(processes[name]) == 6
    clients = {name: connect(engine.url) for name, engine in engines.items()}
    every = [process for some in processes.values() for process in some]
    wait_until(lambda: all(sum(child.cpu_times()[:2]) > 0 for child in every), 20)
    time.sleep(2)  # what the start itself costs is over
    before = {name: (_commands(client.info("commandstats")), _cpu(processes[name])) for name, client in clients.items()}
    began = time.monotonic()
    time.sleep(IDLE_S)
    for name, client in clients.items():
        commands, cpu = _commands(client.info("commandstats")) - before[name][0] - 1, _cpu(processes[name])
        cpu, seconds = cpu - before[name][1], time.monotonic() - began
        rate = commands / seconds
        print(f"{name}: idle for {seconds:.0f} s: {rate:.2f} commands/s, {1000 * cpu / seconds:.2f} ms CPU/s")
        assert rate <= MOST_COMMANDS.get(name, MOST_COMMANDS_OTHERS)
        assert cpu / seconds < 0.01 * len(processes[name])


@pytest.mark.parametrize("strategy", strategies.names())
def test_a_hundred_tasks_a_second_are_on_time(engine: Engine, sample: ModuleType, strategy: str) -> None:
    """Due to started, by the tasks' own clock, beside the wake-up of a blocked client measured in the same run."""
    engine.run("--workers", "2", "--strategy", strategy)
    wake = floor.measure(engine.url, "floor")
    client = connect(engine.url)
    sample.app.schedule_many([sample.nap.call_after(1 + n * 0.01)(0.0) for n in range(TASKS)])
    before = _commands(client.info("commandstats"))
    wait_until(lambda: engine.ended() == TASKS, 60)
    per_task = (_commands(client.info("commandstats")) - before) / TASKS
    # a strategy that rounds due times up is on time by what it rounds to
    resolution = int(strategies.find(strategy).resolution * 1e6)
    starts = [(int(start[0]), int(start[1])) for run in engine.runs().values() for start in run.starts]
    late = sorted((at - due - (-due % resolution if resolution else 0)) / 1e6 for at, due in starts)
    p50, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
    print(f"{strategy}: late p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms, max {1000 * late[-1]:.2f} ms; "
          f"{per_task:.1f} commands a task, inside scripts included; wake-up of a blocked client: {wake}")  # fmt: skip
    assert late[0] >= 0, "early"
    assert len(late) == TASKS
    if not resolution:  # else a hundred at a time come due together
        assert p99 <= MOST_LATE_P99_S.get(strategy, MOST_LATE_OTHERS_P99_S)


def _commands(stats: Mapping[str, Mapping[str, int]]) -> int:
    return sum(entry["calls"] for entry in stats.values())


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
