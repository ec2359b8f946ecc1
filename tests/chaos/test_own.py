"""Kill tests of an application: what is recorded, what is redirected, and that chaos itself loses no task."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dueq import Dueq
from dueq.chaos.own import Report, kill_test
from dueq.chaos.recorded import recorded
from dueq.chaos.redirect import redirected
from dueq.core.app.context import Context, running
from dueq.harness.ledger import DIRECTORY_VARIABLE, FILE_NAME

pytestmark = pytest.mark.processes

APP = """
import os, time
from dueq import Backoff, Dueq, current

NOWHERE = "unix:///nowhere/redis.sock"
app, other = Dueq(NOWHERE, namespace="somebody"), Dueq(NOWHERE, namespace="another")
other.schedule_task(time.time(), "while it is imported")

@app.task(queue="q", retries=0)
def slow() -> None:
    Dueq(NOWHERE, namespace="another").schedule_task(time.time(), "from a task")
    other.schedule_task(time.time(), "from a task")
    time.sleep(2.2)

@app.task(queue="q", backoff=Backoff(2.5, 1.0))
def fails_once() -> None:
    time.sleep(0.2)
    if current().attempt == 1:
        raise ValueError
"""


def run_as(task: str, function: Callable[..., object], *, token: int = 1) -> None:
    """Call ``function`` as a worker does that runs ``task``."""
    before = running.set(Context(f"id-{task}", task, "q", "n", token, 1, 5))
    try:
        function()
    finally:
        running.reset(before)


def test_only_the_task_that_runs_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    calls: list[str] = []
    inner = recorded("inner", lambda: calls.append("inner"))

    def twice() -> None:
        calls.append("outer")
        inner()
        if calls.count("outer") == 1:
            outer()

    outer = recorded("outer", twice)
    run_as("outer", outer)
    assert calls == ["outer", "inner", "outer", "inner"]
    lines = [line.split()[:2] for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert lines == [["S", "id-outer"], ["F", "id-outer"]]
    run_as("outer", outer, token=2)
    assert len((tmp_path / FILE_NAME).read_text().splitlines()) == 4
    inner()  # no task is running
    assert len((tmp_path / FILE_NAME).read_text().splitlines()) == 4


def test_every_application_is_redirected(monkeypatch: pytest.MonkeyPatch) -> None:
    with redirected("unix:///chaos"):
        made = [Dueq("unix:///real"), Dueq(redis_url="unix:///real", namespace="mine"), Dueq()]
    assert {app.settings.redis_url for app in made} == {"unix:///chaos"}
    assert made[1].settings.namespace == "mine"
    assert Dueq("unix:///real").settings.redis_url == "unix:///real"


def report_of(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, task: str, duration: float) -> Report:
    (directory / f"{name}.py").write_text(APP)
    monkeypatch.chdir(directory)
    monkeypatch.setattr("dueq.chaos.stage._STALLED_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")])))
    monkeypatch.syspath_prepend(str(directory))
    monkeypatch.setattr("dueq.chaos.own._without_arguments", lambda app: [_call(app, f"{name}.{task}")])
    return kill_test(f"{name}:app", [], strategy="lua", tasks=2, duration=duration, seed=1)


def _call(app: Dueq, name: str) -> object:
    return app.tasks[name].call_at(0)()


@pytest.mark.long
def test_tasks_longer_than_the_time_between_kills_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(tmp_path, monkeypatch, "slow_shop", "slow", 5.0)
    assert report["ok"], report
    assert 2 <= report["kills"] <= 4
    assert report["lost"] == 0


@pytest.mark.long
def test_a_task_that_waits_for_another_try_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(tmp_path, monkeypatch, "failing_shop", "fails_once", 1.0)
    assert report["lost"] == 0, report
    assert report["finished"] == 2
