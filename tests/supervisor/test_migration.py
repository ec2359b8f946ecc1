"""A ``dueq run`` that is left running while its namespace moves to another strategy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.engine import Engine
from support.waiting import wait_until

pytestmark = pytest.mark.processes

PAIRS = [("lua", "buckets"), ("tmpset", "lua"), ("buckets", "keyspace"), ("keyspace", "watch")]


def _migrate(engine: Engine, to: str, *options: str) -> None:
    command = [sys.executable, "-m", "dueq", "migrate", "--to", to, *options]
    subprocess.run(command, env=os.environ | {"DUEQ_REDIS_URL": engine.url}, check=True, capture_output=True)


def _say_go(engine: Engine) -> None:
    Path(f"{engine.ledger}.go").touch()


@pytest.mark.in_turn
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_what_runs_ends_well_and_the_rest_runs_under_the_new_strategy(
    engine: Engine, sample: ModuleType, old: str, new: str
) -> None:
    supervisor = engine.run("--workers", "2", "--prefetch", "4", "--strategy", old)
    running = [sample.nap.after(0)(2.5) for _ in range(2)]
    wait_until(lambda: len(engine.runs()) == 2, 15)
    waiting = [sample.nap.after(0)(0.01) for _ in range(6)]  # held, ready, or not dispatched yet
    failing = sample.fail.after(5)()
    later = sample.nap.after(5)(0.01)
    _migrate(engine, new)
    assert supervisor.wait(30) == 4
    log = engine.log.read_text()
    assert f"namespace 'default' is owned by strategy '{new}', not '{old}'" in log
    assert "another strategy owns the namespace now" in log.splitlines()[-1]
    assert "exited with status" not in log, "it was started again, in vain"
    assert {handle.id for handle in running} <= {task_id for task_id, run in engine.runs().items() if run.ends}
    again = engine.run("--workers", "2")
    assert engine.state(again)["strategy"] == new
    wait_until(lambda: engine.ended() == 9 and len(engine.runs()[failing.id].starts) == 2, 20)
    assert all(len(engine.runs()[handle.id].starts) == 1 for handle in [*running, *waiting, later])
    assert engine.total(again, "dueq_duplicates_total") == 0
    assert engine.stop(again) == 0


@pytest.mark.in_turn
@pytest.mark.parametrize(("old", "new"), [("scripted", "transactional"), ("transactional", "scripted")])
def test_what_runs_ends_well_and_the_rest_runs_with_the_other_store(
    engine: Engine, sample: ModuleType, old: str, new: str
) -> None:
    _migrate(engine, "watch", "--store", old)
    supervisor = engine.run("--workers", "2", "--prefetch", "4")
    failing, running = sample.late_failure.after(0)(), sample.nap.after(0)(2.5)
    wait_until(lambda: len(engine.runs()) == 2, 15)
    waiting = [sample.nap.after(0)(0.01) for _ in range(6)]  # held, ready, or not dispatched yet
    _migrate(engine, "watch", "--store", new)
    _say_go(engine)
    assert supervisor.wait(30) == 4
    log = engine.log.read_text()
    assert f"namespace 'default' uses the {new} store, not the {old} one" in log
    assert "exited with status" not in log, "it was started again, in vain"
    again = engine.run("--workers", "2")
    wait_until(lambda: engine.ended() == 7 and len(engine.runs()[failing.id].starts) == 2, 20)
    assert all(len(engine.runs()[handle.id].starts) == 1 for handle in [running, *waiting])
    assert engine.total(again, "dueq_duplicates_total") == 0
    assert engine.stop(again) == 0


@pytest.mark.long
def test_a_task_that_fails_while_its_namespace_moves_is_tried_again_there(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "1", "--strategy", "lua")
    handle = sample.late_failure.after(0)()
    wait_until(lambda: engine.runs()[handle.id].starts, 15)
    _migrate(engine, "watch")
    _say_go(engine)
    assert supervisor.wait(30) == 4
    second = engine.run("--workers", "1")
    wait_until(lambda: len(engine.runs()[handle.id].starts) == 2, 15)
    assert engine.total(second, "dueq_deliveries_total", reason="retry") == 1
    assert engine.total(second, "dueq_duplicates_total") == 0


@pytest.mark.long
def test_a_task_may_schedule_tasks_after_its_namespace_has_moved(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "1", "--strategy", "watch")
    handle = sample.late_chain.after(0)()
    wait_until(lambda: engine.runs()[handle.id].starts, 15)
    _migrate(engine, "lua")
    _say_go(engine)
    assert supervisor.wait(30) == 4
    engine.run("--workers", "1")
    wait_until(lambda: engine.ended() == 2, 15)
    assert all(len(run.starts) == 1 for run in engine.runs().values())


@pytest.mark.long
def test_idle_ones_end_soon_and_none_can_start_on_the_old_strategy(engine: Engine, sample: ModuleType) -> None:
    supervisors = [engine.run("--workers", "1", "--dispatchers", "2", "--strategy", "keyspace") for _ in range(3)]
    sample.nap.after(3600)(0.01)
    _migrate(engine, "tmpset")
    for supervisor in supervisors:
        assert supervisor.wait(15) == 4
    refused = engine.run("--strategy", "keyspace", wait=False)
    assert refused.wait(30) == 2
    assert "run with --strategy tmpset" in engine.log.read_text()
