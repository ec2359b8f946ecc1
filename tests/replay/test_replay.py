"""Whole replays by real processes on a real server: clean ones, one with a kill in the middle, and some interrupted."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.waiting import wait_until

from dueq.core.client.connection import connect
from dueq.core.errors import BootFailure, ConfigurationError
from dueq.harness.ledger import Start, parse
from dueq.harness.supervised import SupervisedRun
from dueq.replay.report import is_clean
from dueq.replay.runner import run_replay

pytestmark = [pytest.mark.processes, pytest.mark.long]

CONTRACT = {
    "strategy", "scheduled", "finished", "lost", "early", "duplicates", "lateness_ms", "restarts", "duration_s",
    "redis_commands_per_task",
}  # fmt: skip

REPLAY = """
import json, sys
from pathlib import Path
from dueq.replay.runner import run_replay
print(json.dumps(run_replay(Path(sys.argv[1]), speed=float(sys.argv[2]), workers=2, json=True)))
"""


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go, so that leftovers are seen. Short: the server's socket lies in it."""
    directory = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    yield directory
    shutil.rmtree(directory)


def trace(directory: Path, jobs: int, spread_s: float, duration_s: float) -> Path:
    path = directory / "trace.csv"
    path.write_text("".join(f"{spread_s * n / jobs},{duration_s}\n" for n in range(jobs)))
    return path


def ledger_in(temporary: Path) -> str:
    """What the ledger of the replay that uses ``temporary`` says so far."""
    return "".join(path.read_text() for path in temporary.glob("*/ledger"))


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_replay_of_200_jobs_is_clean_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    before = set(descendants())
    report = run_replay(trace(tmp_path, 200, 2000, 20), speed=1000, workers=2, cap=0.01, limit=190)
    assert is_clean(report)
    assert report.keys() >= CONTRACT
    assert json.loads(json.dumps(report)) == report
    assert (report["scheduled"], report["finished"], report["capped_jobs"]) == (190, 190, 190)
    assert 1.8 < report["duration_s"] < 10
    assert 0 < report["utilisation"] < 1
    assert 0 <= report["lateness_ms"]["p50"] <= report["lateness_ms"]["max"]
    assert report["lateness_free_worker_ms"]["jobs"] > 0
    assert 0 < report["floor_ms"]["p50"] <= report["floor_ms"]["p99"]
    assert report["redis_commands_per_task"] >= 1
    assert report["redis_commands_sent_per_task"] >= 1
    assert set(report["duplicates"]) >= {"worker_lost", "lease_expired", "dispatch", "stale_ack", "unexplained"}
    assert set(descendants()) <= before
    assert list(temporary.iterdir()) == []


@pytest.mark.long
def test_replay_on_a_given_server_purges_its_namespace(redis_url: str, tmp_path: Path) -> None:
    client = connect(redis_url)
    before = set(client.scan_iter())
    report = run_replay(trace(tmp_path, 50, 500, 1), speed=1000, workers=1, redis_url=redis_url, json=True)
    assert is_clean(report)
    assert set(client.scan_iter()) <= before


@pytest.mark.long
def test_killed_workers_job_is_run_again_under_its_cause(tmp_path: Path, temporary: Path) -> None:
    killed: list[int] = []

    def kill_a_busy_worker() -> None:
        wait_until(lambda: ledger_in(temporary), timeout=60)
        last = [
            entry for line in ledger_in(temporary).encode().splitlines() if isinstance(entry := parse(line), Start)
        ][-1]
        pid = last.pid  # of the worker that runs the job, which sleeps 1 s
        assert pid in {process.pid for process in descendants()}
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    killer = threading.Thread(target=kill_a_busy_worker)
    killer.start()
    report = run_replay(trace(tmp_path, 6, 1, 1), speed=1, workers=2, cap=1, json=True)
    killer.join()
    assert killed
    assert is_clean(report), report
    assert report["ledger_extra_starts"] == 1
    assert report["duplicates"]["worker_lost"] == 1
    assert report["restarts"] == 1


@pytest.mark.in_turn("number")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_replay_that_is_ended_takes_everything_with_it(tmp_path: Path, temporary: Path, number: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(temporary)}
    replay = subprocess.Popen(
        [sys.executable, "-c", REPLAY, str(trace(tmp_path, 1000, 600, 1)), "1"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: ledger_in(temporary), timeout=60)
        ours = psutil.Process(replay.pid).children(recursive=True)
        servers = [process for process in psutil.process_iter() if _works_in(process, temporary)]
        assert len(ours) >= 4
        assert servers
        replay.send_signal(number)
        assert replay.wait(30) in (128 + number, -number, 1)
        assert psutil.wait_procs(ours + servers, timeout=5)[1] == []
        assert list(temporary.iterdir()) == []
    finally:
        replay.kill()
        replay.wait()


def test_dueq_that_does_not_start_is_told_with_its_log(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = functools.partial(SupervisedRun, target="no.such.module:app")
    monkeypatch.setattr("dueq.replay.runner.SupervisedRun", wrong)
    with pytest.raises(BootFailure, match=r"(?s)ended with status [1-9].*no\.such|no module"):
        run_replay(trace(tmp_path, 5, 1, 0), speed=1, json=True)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"speed": 0}, {"speed": float("nan")}, {"cap": -1}, {"limit": 0}, {"workers": 0}])
def test_wrong_arguments_start_nothing(tmp_path: Path, temporary: Path, wrong: dict[str, float]) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=next(iter(wrong)).rstrip("s")):
        run_replay(trace(tmp_path, 5, 1, 0), **({"speed": 1.0} | wrong))  # type: ignore[arg-type]
    assert list(temporary.iterdir()) == []
    assert time.monotonic() - began < 2


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return process.cwd().startswith(str(directory))
    except psutil.Error:
        return False
