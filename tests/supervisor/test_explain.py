"""``dueq explain``: the story of tasks that a real engine ran, lost and ran again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq.core.client.connection import connect
from dueq.core.schema.journal import events_of
from dueq.core.schema.keys import Keys

pytestmark = pytest.mark.processes


def explain(engine: Engine, task_id: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dueq", "explain", task_id, *flags]
    environment = os.environ | {"DUEQ_REDIS_URL": engine.url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def events(engine: Engine, task_id: str) -> list[dict[str, Any]]:
    told: dict[str, Any] = json.loads(explain(engine, task_id, "--json").stdout)
    found: list[dict[str, Any]] = told["events"]
    return found


def wait_for(engine: Engine, task_id: str, kind: str) -> None:
    """Return once the journal has it; that is written once a second."""
    client = connect(engine.url)
    wait_until(lambda: kind in [one.kind for one in events_of(client, Keys("default"), task_id)], 15, what=kind)
    client.close()


@pytest.mark.in_turn
@pytest.mark.parametrize("strategy", ["lua", "watch"])
def test_the_story_of_a_task_whose_worker_was_killed(engine: Engine, sample: ModuleType, strategy: str) -> None:
    engine.run("--workers", "2", "--strategy", strategy)
    handle = sample.nap.after(0.3)(4.0)
    wait_until(lambda: engine.runs()[handle.id].starts, 10)
    victim = int(engine.runs()[handle.id].starts[0][-1])
    wait_for(engine, handle.id, "started")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: engine.ended() == 1, 15)
    wait_for(engine, handle.id, "done")
    story = events(engine, handle.id)
    assert [one["event"] for one in story] == ["scheduled", "ready", "started", "lost", "started", "done"]
    first, lost, second, done = story[2:]
    assert (first["attempt"], second["attempt"], second["cause"]) == (1, 2, "worker_lost")
    assert second["token"] > first["token"] > 0
    assert done["token"] == second["token"]
    assert lost["worker"] == first["by"] != second["by"] == done["by"]
    assert "SIGKILL" in lost["how"]
    people = explain(engine, handle.id)
    assert people.returncode == 0
    assert "because the worker that ran it had died" in people.stdout
    assert "it is done" in people.stdout


def test_what_a_task_decided_itself_is_told(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "1")
    handle = sample.decide.after(0)()
    wait_for(engine, handle.id, "dead")
    assert [start[3] for start in engine.runs()[handle.id].starts] == ["1", "1", "2"]
    for outcome in ("snoozed", "retried", "dead"):
        assert engine.total(supervisor, "dueq_tasks_finished_total", outcome=outcome) == 1
    assert engine.total(supervisor, "dueq_deliveries_total", reason="retry") == 2
    told = json.loads(explain(engine, handle.id, "--json").stdout)
    assert [one["event"] for one in told["events"] if one["event"] != "ready"] == [
        *("scheduled", "started", "snoozed", "started", "retry", "started", "dead")
    ]
    assert told["findings"][-1] == "it is a dead letter: enough"
    assert "the task itself put it off 1 times; these starts are not counted as attempts" in told["findings"]
    assert "put off by the task itself for 50.0 ms: too early" in explain(engine, handle.id).stdout


def test_a_task_that_has_expired_is_not_started(engine: Engine, sample: ModuleType) -> None:
    engine.server.start()
    late = sample.punctual.after(0)("late")
    sample.punctual.after(0, expires=60, headers={"trace": "a|b;c"})("kept")
    time.sleep(0.3)
    supervisor = engine.run("--workers", "1")
    wait_until(lambda: engine.total(supervisor, "dueq_tasks_finished_total", outcome="misfired") == 1, 15)
    wait_until(lambda: engine.ended() == 1, 15)
    assert late.id not in engine.runs()
    assert Path(f"{engine.ledger}.kept").read_text() == "a|b;c"
    wait_for(engine, late.id, "misfired")
    told = json.loads(explain(engine, late.id, "--json").stdout)
    assert [one["event"] for one in told["events"]] == ["scheduled", "ready", "misfired"]
    assert told["findings"] == ["it was not started in time, and forgotten: it had expired"]
    assert "not started: it was to start by 20" in explain(engine, late.id).stdout
    assert engine.total(supervisor, "dueq_deliveries_total") == 1
    assert engine.total(supervisor, "dueq_duplicates_total") == 0


def test_nothing_is_known(engine: Engine) -> None:
    told = explain(engine, "never")
    assert told.returncode == 1
    assert "nothing is known" in told.stderr


def test_a_task_that_fails_for_good(engine: Engine, sample: ModuleType) -> None:
    engine.run("--workers", "1")
    handle = sample.fail.after(0)()
    wait_for(engine, handle.id, "dead")
    story = events(engine, handle.id)
    assert [one["event"] for one in story] == ["scheduled", "ready", "started", "retry", "ready", "started", "dead"]
    assert "on purpose" in story[3]["reason"]
    told = json.loads(explain(engine, handle.id, "--json").stdout)
    assert told["task"]["state"] == "dead"
    assert told["findings"][-1] == "it is a dead letter: RuntimeError: on purpose"
