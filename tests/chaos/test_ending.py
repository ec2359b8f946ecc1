"""However a chaos run ends, it leaves nothing behind: no server, no process, no directory."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.waiting import wait_until

from dueq.chaos.failover import Cluster
from dueq.chaos.own import kill_test
from dueq.chaos.runner import Wanted, _result, play, wanted
from dueq.chaos.scenarios import SCENARIOS
from dueq.chaos.scenarios.base import Scenario
from dueq.chaos.stage import Size, Stage
from dueq.core.errors import ConfigurationError
from dueq.harness.host import Host

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go, so that leftovers are seen. Short: the server's socket lies in it."""
    directory = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    yield directory
    shutil.rmtree(directory)


def working_in(directory: Path) -> list[psutil.Process]:
    """The processes whose directory is in ``directory``: Redis servers."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(directory)):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.in_turn("jobs", "pause_s")
@pytest.mark.parametrize(("jobs", "pause_s"), [(2, None), (1, None), (1, 0.02), (1, 0.06)])
def test_ctrl_c_leaves_nothing(temporary: Path, jobs: int, pause_s: float | None) -> None:
    chaos = subprocess.Popen(
        [sys.executable, "-m", "dueq", "chaos", "--scenario", "worker-kill", "--strategy", "all", "--jobs", str(jobs)],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: len(list(temporary.glob("*/ledger"))) == jobs, timeout=60)
        ours = psutil.Process(chaos.pid).children(recursive=True)
        servers = working_in(temporary)
        assert len(servers) >= jobs
        os.killpg(chaos.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        if pause_s is not None:
            time.sleep(pause_s)
            os.killpg(chaos.pid, signal.SIGINT)
        _, said = chaos.communicate(timeout=40)
        if pause_s is None:  # else the second may come when all is over, and end the interpreter as it ends anyway
            assert chaos.returncode == 130
            assert "Traceback" not in said
        assert psutil.wait_procs(ours + servers, timeout=5)[1] == []
        assert working_in(temporary) == []
        assert list(temporary.iterdir()) == []
    finally:
        chaos.kill()
        chaos.wait()
        for process in working_in(temporary):
            process.kill()


def test_a_stage_that_cannot_be_set_up_stops_its_server(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Stage, redis_url: str) -> None:
        assert working_in(temporary)
        raise KeyboardInterrupt

    monkeypatch.setattr(Stage, "use", fails)
    with pytest.raises(KeyboardInterrupt):
        Stage("test", "lua", Size(1, 1.0, 1), temporary, {})
    assert working_in(temporary) == []


def test_a_ctrl_c_while_the_server_starts_stops_it(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = subprocess.Popen.wait

    def interrupted(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        signal.raise_signal(signal.SIGINT)
        return wait(self, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "wait", interrupted)  # for the server to go to the background
        with pytest.raises(KeyboardInterrupt):
            Stage("test", "lua", Size(1, 1.0, 1), temporary, {})
    try:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert working_in(temporary) == []
    finally:
        for process in working_in(temporary):
            process.kill()


@pytest.mark.parametrize("strategy", ["all", "nope"])
def test_a_wrong_strategy_starts_nothing(temporary: Path, strategy: str) -> None:
    with pytest.raises(ConfigurationError, match="no strategy"):
        Stage("test", strategy, Size(1, 1.0, 1), temporary, {})
    with pytest.raises(ConfigurationError, match="no strategy"):
        kill_test("no.such:app", [], strategy=strategy, tasks=1, duration=1.0, seed=1)
    assert list(temporary.iterdir()) == []


def test_a_host_that_cannot_be_looked_at_is_killed_all_the_same(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Host, role: str = "") -> list[psutil.Process]:
        raise KeyboardInterrupt

    with Stage("test", "lua", Size(1, 1.0, 1), temporary, {}) as stage:
        host = stage.host(workers=1)
        host.wait_ready()
        with monkeypatch.context() as patch:
            patch.setattr(Host, "children", interrupted)
            with pytest.raises(KeyboardInterrupt):
                host.vanish()
        assert not host.alive()


def test_one_that_cannot_be_ended_does_not_keep_the_others_running(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Host) -> None:
        raise psutil.NoSuchProcess(1)

    stage = Stage("test", "lua", Size(1, 1.0, 1), temporary, {})
    host = stage.host(workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(Host, "vanish", fails)
        with pytest.raises(psutil.NoSuchProcess):
            stage.close()
    assert working_in(temporary) == []
    host.vanish()


def test_a_frozen_replica_is_ended(temporary: Path) -> None:
    def interrupted() -> None:
        with Cluster(temporary) as cluster:
            cluster.hold_replica()
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert working_in(temporary) == []
    finally:
        for process in working_in(temporary):
            process.kill()


@pytest.mark.parametrize("error", [psutil.NoSuchProcess(7), IndexError("no worker"), AssertionError("no pid")])
def test_whatever_goes_wrong_in_a_run_is_told_of_it(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def play_it(stage: Stage) -> None:
        raise error

    monkeypatch.setitem(SCENARIOS, "poison", Scenario("poison", "a fault", "an expectation", play_it))
    [one] = wanted("poison", "lua", 1, 1.0, 1)
    report = play(one).report
    assert not report["ok"]
    [check] = report["checks"]
    assert check["measured"] == f"{type(error).__name__}: {error}"


def test_a_run_whose_process_dies_has_failed() -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=os._exit, args=(3,))
    process.start()
    theirs.close()
    report = _result(ours, Wanted("poison", "lua", Size(1, 1.0, 1)), process).report
    assert not report["ok"]
    assert "status 3" in report["checks"][0]["measured"]
