"""``dueq bench`` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest
from support.waiting import wait_until

from dueq import strategies
from dueq.bench.suites import SUITES
from dueq.core.client.connection import connect
from dueq.core.client.embedded import EmbeddedServer

pytestmark = [pytest.mark.processes, pytest.mark.long]

NOTHING: Mapping[str, str] = MappingProxyType({})


def dueq(*arguments: str, environment: Mapping[str, str] = NOTHING) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dueq", "bench", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=110, check=False
    )


def test_a_report_as_json(temporary: Path) -> None:
    told = dueq("--quick", "--strategy", "lua", "--suite", "lateness,schedule", "--json")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert (report["strategy"], report["lost"], report["early"], report["quick"]) == ("lua", 0, 0, True)
    assert report["scheduled"] == report["finished"] > 0
    assert report["duplicates"] == dict.fromkeys(
        ("worker_lost", "lease_expired", "dispatch", "stale_ack", "unexplained"), 0
    )
    assert report["lateness_ms"].keys() == {"p50", "p95", "p99", "max"}
    assert 0 <= report["lateness_ms"]["p50"] <= report["lateness_ms"]["max"]
    assert report["redis_commands_per_task"] > 0
    assert report["duration_s"] > 0
    assert report["restarts"] == 0
    started = next(one for one in report["figures"] if one["name"] == "started p50")
    assert started["floor"] > 0
    assert started["ratio"] == pytest.approx(started["value"] / started["floor"], rel=1e-3)
    assert started["target"] == "≤ 3 × floor"
    assert started["met"] is (started["value"] <= 3 * started["floor"])
    assert {one["suite"] for one in report["figures"]} == {"lateness", "schedule"}
    assert "lua lateness: " in told.stderr  # no terminal: a line for each suite
    assert not list(temporary.iterdir())


def test_a_table_and_plots(temporary: Path) -> None:
    pytest.importorskip("matplotlib")
    out = temporary / "out"
    told = dueq("--quick", "--strategy", "watch", "--suite", "lateness", "--plot", str(out))
    assert told.returncode == 0, told.stderr
    assert "started p99" in told.stdout
    assert "≤ 4 × floor" in told.stdout
    assert sorted(path.name for path in out.iterdir()) == ["cost.svg", "lateness.svg"]
    assert "watch" in (out / "lateness.svg").read_text()


def test_the_suites_are_told() -> None:
    told = dueq("--list")
    assert told.returncode == 0
    for suite in SUITES.values():
        assert suite.name in told.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--suite", "speed"), "there is no suite 'speed': there are lateness,"),
        (("--suite", "burst,"), "there is no suite ''"),
        (("--strategy", "best"), "there is no strategy 'best'"),
        (("--redis-url", "http://here", "--suite", "schedule", "--strategy", "lua"), "is not a Redis address"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], complaint: str) -> None:
    told = dueq("--quick", *arguments)
    assert told.returncode == 2
    assert complaint in told.stderr
    assert "Traceback" not in told.stderr


def test_a_redis_that_is_away() -> None:
    told = dueq("--quick", "--suite", "schedule", "--strategy", "lua", "--redis-url", "redis://127.0.0.1:1")
    assert told.returncode == 3
    assert "cannot reach Redis" in told.stderr


def test_without_matplotlib_it_is_said_before_anything_runs(tmp_path: Path) -> None:
    program = "import sys; sys.modules['matplotlib'] = None; from dueq.__main__ import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", program, "bench", "--quick", "--plot", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert told.returncode == 2
    assert "pip install 'dueq[plots]'" in told.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_on_a_foreign_redis_nothing_stays_and_nothing_is_touched(temporary: Path, redis_url: str) -> None:
    client = connect(redis_url)
    before = {key: client.dump(key) for key in client.scan_iter()}
    client.set("theirs", "1")
    try:
        told = dueq(
            *("--quick", "--strategy", "buckets", "--suite", "burst,schedule,dispatchers", "--json"),
            environment={"DUEQ_REDIS_URL": redis_url},
        )
        assert told.returncode == 0, told.stderr
        assert "on your Redis" in told.stderr
        assert json.loads(told.stdout)["finished"] > 0
        assert client.get("theirs") == b"1"
    finally:
        client.delete("theirs")
    assert {key: client.dump(key) for key in client.scan_iter()} == before


def test_what_a_server_cannot_run_is_said(temporary: Path) -> None:
    server = EmbeddedServer(temporary / "r", options={"rename-command": 'EVAL ""'})
    url = server.start()
    try:
        told = dueq("--quick", "--strategy", "all", "--suite", "schedule", "--json", "--redis-url", url)
        nothing = dueq("--quick", "--strategy", "lua", "--suite", "schedule", "--redis-url", url)
    finally:
        server.stop()
    assert nothing.returncode == 1
    assert "lua: not measured: schedule: " in nothing.stderr
    assert told.returncode == 0, told.stderr
    reports = {report["strategy"]: report for report in map(json.loads, told.stdout.splitlines())}
    assert list(reports) == strategies.names()
    for name, report in reports.items():
        if strategies.find(name).needs.scripts:
            assert "it lacks scripts" in report["skipped"]["schedule"]
            assert not report["figures"]
        else:
            assert not report["skipped"]
            assert report["figures"]
    assert "lua: not measured: schedule: " in told.stderr
    assert "keyspace: not measured: schedule: " in told.stderr


@pytest.mark.in_turn("foreign")
@pytest.mark.parametrize("foreign", [False, True])
def test_ctrl_c_leaves_nothing(temporary: Path, redis_url: str, foreign: bool) -> None:
    before = set(connect(redis_url).keys())
    where = ("--redis-url", redis_url) if foreign else ()
    bench = subprocess.Popen(
        [sys.executable, "-m", "dueq", "bench", "--strategy", "tmpset", "--suite", "idle", *where],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: list(temporary.glob("*/engine0.json")), timeout=60)  # all its processes run
        started = psutil.Process(bench.pid).children(recursive=True)
        assert len(started) >= 5
        bench.send_signal(signal.SIGINT)
        _, said = bench.communicate(timeout=60)
    finally:
        bench.kill()
    assert bench.returncode == 130, said
    assert "Traceback" not in said
    assert not psutil.wait_procs(started, timeout=5)[1]
    assert not list(temporary.iterdir())
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(temporary) in str(process.info)]
    assert set(connect(redis_url).keys()) == before
