"""``dueq chaos`` as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dueq import strategies
from dueq.chaos.runner import wanted
from dueq.chaos.scenarios import SCENARIOS
from dueq.core.errors import ConfigurationError

pytestmark = pytest.mark.processes

APP = """
import time
from pathlib import Path
from dueq import Dueq, current

app = Dueq("redis://127.0.0.1:1", namespace="somebody", strategy="lua")

@app.task(queue="q", retries=0)
def survives() -> None:
    time.sleep(0.3)

@app.task(queue="q", retries=0)
def needs(number: int) -> None:
    time.sleep(0.2)

@app.task(queue="q", retries=0)
def does_not(directory: str) -> None:
    lock = Path(directory, current().id)
    lock.touch(exist_ok=False)
    time.sleep(0.3)
    lock.unlink()
"""


def dueq(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dueq", "chaos", *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ, capture_output=True, text=True, timeout=110, check=False)


def test_the_scenarios_are_told(tmp_path: Path) -> None:
    told = dueq("--list", cwd=tmp_path)
    assert told.returncode == 0
    for scenario in SCENARIOS.values():
        assert scenario.name in told.stdout


def test_one_run_as_json_and_as_a_page(tmp_path: Path) -> None:
    size = ("--tasks", "30", "--duration", "1.5", "--seed", "7")
    told = dueq("--scenario", "worker-kill", *size, "--json", "--report", "out", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert (report["scenario"], report["strategy"], report["seed"], report["ok"]) == ("worker-kill", "lua", 7, True)
    assert (report["scheduled"], report["finished"], report["lost"], report["early"]) == (30, 30, 0, 0)
    wanted_keys = {"duplicates", "lateness_ms", "restarts", "duration_s", "redis_commands_per_task", "checks"}
    assert wanted_keys <= report.keys()
    assert report["redis_commands_per_task"] > 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "worker-kill" in page
    assert "<svg" in page
    assert not list(tmp_path.glob("dueq-*"))


@pytest.mark.long
def test_several_at_once_come_as_one_table(tmp_path: Path) -> None:
    told = dueq(
        *("--scenario", "poison", "--strategy", "all", "--tasks", "10", "--duration", "1", "--jobs", "3"), cwd=tmp_path
    )
    assert told.returncode == 0, told.stderr
    rows = [line.split() for line in told.stdout.splitlines()[1:]]
    assert [row[:3] for row in rows] == [["poison", name, "met"] for name in strategies.names()]


def test_the_same_seed_plans_the_same() -> None:
    assert wanted("all", "all", None, 10.0, 1) == wanted("all", "all", None, 10.0, 1)
    assert len(wanted("all", "all", None, 10.0, 1)) == len(SCENARIOS) * len(strategies.names())


@pytest.mark.parametrize(
    ("scenario", "strategy", "tasks", "duration"),
    [("nope", "lua", None, 1.0), ("zombie", "nope", None, 1.0), ("zombie", "lua", 0, 1.0), ("zombie", "lua", 1, 0.0)],
)
def test_nonsense_is_refused(scenario: str, strategy: str, tasks: int | None, duration: float) -> None:
    with pytest.raises(ConfigurationError):
        wanted(scenario, strategy, tasks, duration, 1)


@pytest.mark.long
def test_an_app_that_survives(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    told = dueq("--app", "shop:app", "--duration", "3", cwd=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "shop.survives: scheduled 12" in told.stdout
    assert "needs" not in told.stdout


@pytest.mark.long
def test_an_app_that_does_not(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    lines = [{"task": "shop.does_not", "args": [str(tmp_path)]}, {"task": "shop.needs", "args": [1]}]
    (tmp_path / "calls.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told = dueq("--app", "shop:app", "--calls", "calls.jsonl", "--duration", "3", "--json", cwd=tmp_path)
    assert told.returncode == 1, told.stdout + told.stderr
    report = json.loads(told.stdout)
    tasks = report["tasks"]
    assert tasks["shop.does_not"]["lost"] == report["lost"] > 0
    assert tasks["shop.does_not"]["killed"] > tasks["shop.does_not"]["survived"]
    assert tasks["shop.needs"]["lost"] == 0


@pytest.mark.parametrize(
    ("calls", "said"),
    [(None, "--calls FILE"), ('{"task": "shop.nope"}', "no task called"), ('{"tusk": 1}', "unknown field tusk")],
)
def test_an_app_with_nothing_to_call_is_told_what_to_do(tmp_path: Path, calls: str | None, said: str) -> None:
    (tmp_path / "shop.py").write_text(
        "from dueq import Dueq\napp = Dueq()\n@app.task()\ndef needs(n: int) -> None: ...\n"
    )
    arguments = ["--app", "shop:app"]
    if calls is not None:
        (tmp_path / "calls.jsonl").write_text(calls)
        arguments += ["--calls", "calls.jsonl"]
    told = dueq(*arguments, cwd=tmp_path)
    assert told.returncode == 2
    assert said in told.stderr
