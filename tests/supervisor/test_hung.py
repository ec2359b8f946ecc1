"""Children that live and do not get on: each way to hang, with a real supervisor.

test_loop shows how late each of them is ended at the latest, since no busy machine disturbs its clock.
"""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq import strategies
from dueq.core.store.values import DeadLetter

pytestmark = pytest.mark.processes

LEASE = 2.0
TICK = LEASE / 8  # how often the supervisor looks, under so short a lease
HANG = 2.0
FLAGS = ("--lease", str(LEASE), "--hang-timeout", str(HANG), "--safety-net", "1")


def _dead(sample: ModuleType) -> list[DeadLetter]:
    found: list[DeadLetter] = sample.app._connected().reached().store.dead("default", 0, 10)
    return found


@pytest.mark.parametrize(
    ("name", "after", "reason", "stack"),
    [
        ("match_for_ever", LEASE / 2, "gave no sign of life", r"main thread: match \(\S+re\S+\) < match_for_ever \("),
        ("overrun", 0.6, "ran past its hard timeout", r"main thread: overrun \(\S+sample.py:\d+\)"),
    ],
)
def test_a_task_that_hangs_loses_its_worker_and_is_buried_in_the_end(
    engine: Engine, sample: ModuleType, name: str, after: float, reason: str, stack: str
) -> None:
    supervisor = engine.run("--workers", "2", "--max-losses", "2", "--max-restarts", "0", *FLAGS)
    handle = getattr(sample, name).after(0)()
    sample.app.schedule_many([sample.nap.call_after(n * 0.05)(0.01) for n in range(60)])
    wait_until(lambda: engine.total(supervisor, "dueq_process_restarts_total", cause="hung") == 2, 20)
    wait_until(lambda: _dead(sample), 10)
    [letter] = _dead(sample)
    assert letter.record.id == handle.id
    assert reason in letter.reason
    first, second = engine.runs()[handle.id].starts
    lasted = (int(second[0]) - int(first[0])) / 1e6
    assert lasted >= after
    assert re.search(rf"stacks of worker {first[-1]}: .*{stack}", engine.log.read_text())
    wait_until(lambda: engine.ended() == 60, 10)
    assert sum(len(run.starts) for run in engine.runs().values()) == 62, "no other task was in the way"
    assert engine.total(supervisor, "dueq_process_restarts_total") == 2
    assert engine.total(supervisor, "dueq_duplicates_total", cause="worker_lost") == 1
    assert engine.total(supervisor, "dueq_duplicates_total") == 1
    assert engine.stop(supervisor) == 0


def test_a_soft_timeout_is_an_exception_inside_the_task(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "2")
    heeds, minds_not = sample.asked_to_end.after(0)(True), sample.asked_to_end.after(0)(False)
    wait_until(lambda: _dead(sample), 10)
    [letter] = _dead(sample)
    assert letter.record.id == minds_not.id
    assert letter.reason == "TaskTimeout: the task ran longer than its soft timeout of 0.2 s"
    wait_until(lambda: engine.runs()[heeds.id].ends, 5)
    for handle in (heeds, minds_not):
        assert len(engine.runs()[handle.id].starts) == 1
    [start], [end] = engine.runs()[heeds.id].starts, engine.runs()[heeds.id].ends
    assert 200_000 <= int(end[0]) - int(start[0]) < 2_000_000
    assert engine.total(supervisor, "dueq_process_restarts_total") == 0


def test_processes_that_stand_still_are_replaced_whatever_their_role(engine: Engine, sample: ModuleType) -> None:
    """Stopped, they live on for the kernel, and their sockets stay open."""
    supervisor = engine.run("--workers", "1", *FLAGS)
    children = engine.children(supervisor)
    assert len(children) == 3
    for child in children:
        child.suspend()
    handle = sample.nap.after(0.1)(0.01)
    wait_until(lambda: engine.total(supervisor, "dueq_process_restarts_total", cause="hung") == 3, 20)
    wait_until(lambda: engine.runs()[handle.id].ends, 10)
    for role in ("worker", "dispatcher", "reaper"):
        assert engine.total(supervisor, "dueq_process_restarts_total", role=role, cause="hung") == 1
    assert not any(child.is_running() for child in children)
    assert engine.total(supervisor, "dueq_duplicates_total") == 0


STUCK = '''
import os, time
from dueq.strategies.lua import LuaStrategy
from pathlib import Path

class Stuck(LuaStrategy):
    """Stands still, once, when told to; all of its process's other threads go on."""
    name = "stuck"

    def dispatch(self, limit):
        sign = Path(os.environ["LEDGER"] + ".stick")
        if sign.exists():
            sign.unlink()
            time.sleep(1000)
        return super().dispatch(limit)
'''


def test_a_dispatcher_whose_loop_stands_still_is_replaced(
    engine: Engine, sample: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = tmp_path / "plugins"
    info = plugins / "stuck-1.0.dist-info"
    info.mkdir(parents=True)
    (plugins / "stuck.py").write_text(STUCK)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stuck\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dueq.strategies]\nstuck = stuck:Stuck\n")
    monkeypatch.syspath_prepend(str(plugins))
    assert "stuck" in strategies.names()
    environment = {"PYTHONPATH": str(plugins)}
    supervisor = engine.run("--workers", "1", "--strategy", "stuck", *FLAGS, environment=environment)
    [dispatcher] = engine.children(supervisor, "dispatcher")
    sign = Path(f"{engine.ledger}.stick")
    sign.touch()
    handles = [sample.nap.after(0.01)(0.01) for _ in range(20)]
    wait_until(lambda: not sign.exists(), 5)
    began = time.monotonic()
    wait_until(lambda: not dispatcher.is_running(), 10)
    assert time.monotonic() - began >= HANG - TICK
    wait_until(lambda: engine.ended() == len(handles), 10)
    assert all(len(run.starts) == 1 for run in engine.runs().values())
    assert engine.total(supervisor, "dueq_process_restarts_total", role="dispatcher", cause="hung") == 1
    assert engine.total(supervisor, "dueq_process_restarts_total") == 1
    assert re.search(
        rf"stacks of dispatcher {dispatcher.pid}: .*main thread: dispatch \(\S+stuck.py", engine.log.read_text()
    )


@pytest.mark.long
def test_usr1_logs_all_stacks_and_harms_nobody_not_even_one_that_only_begins(
    engine: Engine, sample: ModuleType
) -> None:
    supervisor = engine.run("--workers", "1")
    handle = sample.nap.after(0)(1.5)
    wait_until(lambda: engine.runs()[handle.id].starts, 10)
    supervisor.send_signal(signal.SIGUSR1)
    children = {child.pid for child in engine.children(supervisor)}
    assert len(children) == 3

    def told(pid: int) -> bool:
        return re.search(rf"stacks of \w+ {pid}: .*main thread: ", engine.log.read_text()) is not None

    wait_until(lambda: all(told(pid) for pid in children), 5)
    log = engine.log.read_text()
    assert re.search(r"stacks of the supervisor: .*main thread: write \(", log)
    assert re.search(r"main thread: nap \(\S+sample.py:\d+\)", log)
    [dispatcher] = engine.children(supervisor, "dispatcher")
    dispatcher.kill()
    end = time.monotonic() + 1
    while time.monotonic() < end:  # all through the boot of the next one
        supervisor.send_signal(signal.SIGUSR1)
        time.sleep(0.01)
    wait_until(lambda: engine.ended() == 1, 10)
    assert engine.total(supervisor, "dueq_process_restarts_total") == 1, "the one that was killed"
    assert engine.stop(supervisor) == 0


UNKILLABLE = """
from dueq.core.supervisor.child import Child
Child.send = lambda self, number: None  # as to a process that waits in the kernel, for a disk that does not answer
from dueq.__main__ import main
main()
"""


@pytest.mark.long
def test_what_cannot_be_killed_does_not_hold_up_the_end(engine: Engine) -> None:
    supervisor = engine.run("--workers", "1", "--drain-timeout", "0", program=("-c", UNKILLABLE))
    children = engine.children(supervisor)
    supervisor.send_signal(signal.SIGTERM)
    began = time.monotonic()
    supervisor.wait(20)
    settle = 5.0
    assert settle <= time.monotonic() - began < settle + 3
    psutil.wait_procs(children, timeout=5)
    assert not any(child.is_running() for child in children), "the kernel ended them with their parent"


def test_a_worker_that_left_a_fork_behind_is_missed_at_once(engine: Engine, sample: ModuleType) -> None:
    """The fork has the worker's files open, so none of them tells that it died."""
    engine.run("--workers", "3")  # one is idle at each kill: what is measured is not how soon another process is up
    handle = sample.nap_beside_a_fork.after(0)(1.0)
    try:
        for attempt in (1, 2):
            wait_until(lambda: len(engine.runs()[handle.id].starts) == attempt, 10)  # noqa: B023
            time.sleep(0.3)  # it forks
            os.kill(int(engine.runs()[handle.id].starts[-1][-1]), signal.SIGKILL)
            killed = time.time_ns() // 1000
            wait_until(lambda: len(engine.runs()[handle.id].starts) == attempt + 1, 10)  # noqa: B023
            assert int(engine.runs()[handle.id].starts[-1][0]) - killed < 1_000_000
        wait_until(lambda: engine.ended() == 1, 10)
    finally:
        for pid in Path(f"{engine.ledger}.forks").read_text().split():
            if psutil.pid_exists(int(pid)):
                os.kill(int(pid), signal.SIGKILL)
