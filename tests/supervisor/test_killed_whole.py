"""A supervisor is killed with all its processes, and another is started: the tasks that were cut off run again at once.

The second sees that the first is gone by the lock in the state directory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import redis
from support.engine import Engine
from support.waiting import wait_until

from dueq import strategies
from dueq.core.process.state_lock import names
from dueq.core.schema.journal import events_of
from dueq.core.schema.keys import Keys
from dueq.harness.host import alive

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells one boot from another"),
]

SOON_S = 1.0
"""From when the new engine is ready to the last start of a task that was cut off."""
UNDER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
_HOLDER = """
import sys, time
from pathlib import Path
from dueq.core.process.state_lock import free_locks, names
directory = Path(sys.argv[1])
held = list(free_locks(directory, names(directory), {}))
print(len(held), flush=True)
time.sleep(60)
"""


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, str]:
    """The environment of those that share a state directory."""
    return {"DUEQ_STATE_DIR": str(tmp_path / "locks")}


@pytest.fixture
def survivors(engine: Engine) -> Iterator[Path]:
    """The file with the pids of what tasks have left behind."""
    file = Path(f"{engine.ledger}.survivors")
    yield file
    for pid in _pids(file):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def _kill_whole(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a supervisor and its children, before it can see one die; what its tasks have left lives on."""
    process.send_signal(signal.SIGSTOP)
    for child in psutil.Process(process.pid).children():
        child.kill()
    process.kill()
    process.wait()


def _kill_in_a_task(engine: Engine, process: subprocess.Popen[bytes]) -> set[str]:
    """The same while at least one task runs; returns the ids of these tasks."""
    workers = engine.children(process, "worker")
    process.send_signal(signal.SIGSTOP)
    for _ in range(100):
        for worker in workers:
            worker.suspend()
        wait_until(lambda: all(worker.status() == psutil.STATUS_STOPPED for worker in workers), 5)
        if cut_off := _cut_off(engine):
            _kill_whole(process)
            return cut_off
        for worker in workers:
            worker.resume()
        time.sleep(0.003)
    raise AssertionError("no task ran")


def _holds(process: psutil.Process, lock: str) -> bool:
    return any(Path(file.path).name == lock for file in process.open_files())


def _cut_off(engine: Engine) -> set[str]:
    return {task_id for task_id, run in engine.runs().items() if len(run.starts) > len(run.ends)}


def _runs_of(
    engine: Engine, task_id: str, times: int, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start an engine and wait until it runs the task; so many times, one after the other."""
    for attempt in range(1, times + 1):
        process = engine.run("--workers", "1", environment=environment)
        wait_until(lambda attempt=attempt: len(engine.runs()[task_id].starts) == attempt, 5)  # type: ignore[misc]
        yield process


def _ready_at_us(engine: Engine, process: subprocess.Popen[bytes]) -> int:
    return (engine.directory / f"state{engine.processes.index(process)}.json").stat().st_mtime_ns // 1000


def _took_s(engine: Engine, process: subprocess.Popen[bytes], cut_off: set[str]) -> float:
    """From when ``process`` was ready until the last of these had started again."""
    wait_until(lambda: all(len(engine.runs()[task_id].starts) > 1 for task_id in cut_off), 60, what="they run again")
    runs = engine.runs()
    latest = max(int(runs[task_id].starts[1][0]) for task_id in cut_off)
    return (latest - _ready_at_us(engine, process)) / 1e6


def _whys(engine: Engine, task_id: str) -> list[object]:
    client = redis.Redis.from_url(engine.url)
    try:
        return [event.facts["cause"] for event in events_of(client, Keys("default"), task_id) if event.kind == "lost"]
    finally:
        client.close()


def _started(engine: Engine) -> int:
    """How many tasks Redis has as started."""
    with contextlib.closing(redis.Redis.from_url(engine.url)) as client:
        return int(client.zcard(Keys("default").plain("leased")))


@pytest.mark.in_turn("tasks", "nap")
@pytest.mark.parametrize("strategy", strategies.names())
@pytest.mark.parametrize(("tasks", "nap"), [(200, 0.02), (4000, 0.001)], ids=["long", "short"])
def test_what_was_cut_off_runs_again_at_once(
    engine: Engine, sample: ModuleType, shared: dict[str, str], strategy: str, tasks: int, nap: float
) -> None:
    flags = ("--workers", "2", "--strategy", strategy)
    first = engine.run(*flags, environment=shared)
    [lock] = names(Path(shared["DUEQ_STATE_DIR"]))
    assert all(_holds(child, lock) for child in engine.children(first)), "not the supervisor alone"
    sample.app.schedule_many([sample.nap.call_after(0)(nap) for _ in range(tasks)])
    wait_until(lambda: engine.ended() >= tasks // 5, 20, what="they are in the middle of it")
    cut_off = _kill_in_a_task(engine, first)
    assert engine.ended() < tasks
    started = _started(engine)
    second = engine.run(*flags, environment=shared)
    assert _took_s(engine, second, cut_off) <= SOON_S
    wait_until(lambda: engine.ended() == tasks, 8, what="all others, too, and no lease has run out by then")
    runs = engine.runs()
    for task_id in cut_off:
        assert _whys(engine, task_id) == ["worker_lost"]
        assert int(runs[task_id].starts[1][2]) > int(runs[task_id].starts[0][2]), "the token rises"
    # what had ended may run again, too, and what had begun may not have said so: a worker each
    extra = sum(len(run.starts) - 1 for run in runs.values())
    counted = engine.total(second, "dueq_duplicates_total", cause="worker_lost")
    assert counted == engine.total(second, "dueq_duplicates_total")
    assert extra <= counted
    if nap > 0.005:
        assert counted <= extra + 2
    else:  # several short tasks were started by one step
        assert counted == started
    assert lock not in names(Path(shared["DUEQ_STATE_DIR"])), "it was seen to"
    assert engine.stop(second) == 0
    assert names(Path(shared["DUEQ_STATE_DIR"])) == [], "who ends in order leaves none"


@pytest.mark.long
def test_a_task_that_takes_all_with_it_each_time_becomes_a_dead_letter(
    engine: Engine, sample: ModuleType, shared: dict[str, str]
) -> None:
    handle = sample.nap.after(0)(60)
    for process in _runs_of(engine, handle.id, 3, shared):
        _kill_whole(process)
    engine.run("--workers", "1", environment=shared)
    wait_until(lambda: "too many times now: it is a dead letter" in engine.log.read_text(), 5)
    assert len(engine.runs()[handle.id].starts) == 3


@pytest.mark.long
def test_a_stop_that_ends_in_a_kill_is_not_held_against_a_task(
    engine: Engine, sample: ModuleType, shared: dict[str, str]
) -> None:
    """As with a container that does not end in time after SIGTERM."""
    handle, directory = sample.nap.after(0)(60), Path(shared["DUEQ_STATE_DIR"])
    for process in _runs_of(engine, handle.id, 4, shared):
        process.terminate()
        [lock] = names(directory)
        wait_until(lambda lock=lock: (directory / lock).read_bytes().endswith(b"stopping"), 5)  # type: ignore[misc]
        _kill_whole(process)
    assert _whys(engine, handle.id) == ["worker_lost"] * 3
    assert "dead letter" not in engine.log.read_text()


@pytest.mark.long
def test_others_that_live_or_are_stopped_are_not_touched(
    engine: Engine, sample: ModuleType, shared: dict[str, str]
) -> None:
    flags = ("--workers", "1", "--lease", "30", "--hang-timeout", "0")
    first = engine.run(*flags, environment=shared)
    handle = sample.nap.after(0)(2.5)
    wait_until(lambda: handle.id in engine.runs(), 5)
    second = engine.run(*flags, environment=shared)
    stopped = [*psutil.Process(first.pid).children(), psutil.Process(first.pid)]
    try:
        for one in stopped:
            one.suspend()
        third = engine.run(*flags, environment=shared)
        time.sleep(1.5)  # a look and more, of both
        assert len(names(Path(shared["DUEQ_STATE_DIR"]))) == 3
    finally:
        for one in stopped:
            one.resume()
    wait_until(lambda: engine.ended() == 1, 5)
    assert len(engine.runs()[handle.id].starts) == 1
    assert _whys(engine, handle.id) == []
    assert [engine.stop(one) for one in (first, second, third)] == [0, 0, 0]


@pytest.mark.long
def test_what_tasks_leave_behind_keeps_no_lock(
    engine: Engine, sample: ModuleType, shared: dict[str, str], survivors: Path
) -> None:
    first = engine.run("--workers", "1", environment=shared)
    handle = sample.leave_survivors.after(0)()
    wait_until(lambda: len(_pids(survivors)) == 4, 10, what="all of them live")
    _kill_whole(first)
    second = engine.run("--workers", "1", environment=shared)
    assert _took_s(engine, second, {handle.id}) <= SOON_S
    assert all(map(psutil.pid_exists, _pids(survivors)))


@pytest.mark.long
def test_who_dies_before_it_has_given_back_is_followed_by_one_that_does(
    engine: Engine, sample: ModuleType, shared: dict[str, str]
) -> None:
    first = engine.run("--workers", "1", environment=shared)
    handle = sample.nap.after(0)(0.2)
    wait_until(lambda: handle.id in engine.runs(), 5)
    _kill_whole(first)
    assert _cut_off(engine) == {handle.id}
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, shared["DUEQ_STATE_DIR"]], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        engine.run("--workers", "1", environment=shared)
        time.sleep(0.5)
        assert len(engine.runs()[handle.id].starts) == 1
    finally:
        holder.kill()
        holder.wait()
    wait_until(lambda: engine.ended() == 1, 3, what="the one that is running already has looked again")


@pytest.mark.long
def test_without_a_directory_it_says_so_and_waits_for_leases(
    engine: Engine, sample: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    nowhere = {"DUEQ_STATE_DIR": str(tmp_path / "file" / "locks")}
    first = engine.run("--workers", "1", environment=nowhere)
    assert engine.log.read_text().count("only when the leases have run out") == 1
    handle = sample.nap.after(0)(0.1)
    wait_until(lambda: engine.ended() == 1, 5)
    assert engine.stop(first) == 0
    assert len(engine.runs()[handle.id].starts) == 1


# -- in PID namespaces, as in containers


@pytest.fixture
def namespaces() -> None:
    """A PID namespace of its own takes rights that not everybody has."""
    tried = subprocess.run([*UNDER, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no PID namespace of our own: {tried.stderr.strip()}")


@pytest.mark.usefixtures("namespaces")
@pytest.mark.long
@pytest.mark.parametrize("keeps", [True, False], ids=["shared", "not shared"])
def test_a_container_is_started_again(engine: Engine, sample: ModuleType, shared: dict[str, str], keeps: bool) -> None:
    lease = 3.0
    flags = ["--workers", "2", "--lease", str(lease)]
    neighbour = engine.run(*flags, "--queues", "side", under=UNDER, environment=shared)
    theirs = [sample.nap_aside.after(0)(8.0).id for _ in range(2)]
    wait_until(lambda: len(engine.runs()) == 2, 5)
    flags += ["--queues", "default"]
    first = engine.run(*flags, under=UNDER, environment=shared if keeps else {})
    assert engine.state(first)["pid"] == 1
    [init] = psutil.Process(first.pid).children()
    sample.app.schedule_many([sample.nap.call_after(0)(0.05) for _ in range(200)])
    wait_until(lambda: engine.ended() >= 50, 10)
    first.kill()  # and with it all that is in its namespace
    first.wait()
    assert alive([init], within=5) == []
    cut_off = _cut_off(engine).difference(theirs)
    assert cut_off
    second = engine.run(*flags, under=UNDER, environment=shared if keeps else {})
    took_s = _took_s(engine, second, cut_off)
    assert took_s <= SOON_S if keeps else took_s <= lease + 5
    wait_until(lambda: engine.ended() == 202, 15)
    why = "worker_lost" if keeps else "lease_expired"
    wait_until(
        lambda: all(_whys(engine, task_id) == [why] for task_id in cut_off), 5, what="the reaper's notes are written"
    )
    for task_id in theirs:
        assert len(engine.runs()[task_id].starts) == 1, "the neighbour's are not touched"
    for outside in (neighbour, second):
        [init] = psutil.Process(outside.pid).children()
        init.terminate()
        assert outside.wait(10) == 0
