"""Workers that have done enough are replaced, and no task is lost or run twice because of that."""

from __future__ import annotations

from collections import Counter
from types import ModuleType

import pytest
from support.engine import Engine
from support.waiting import wait_until

pytestmark = pytest.mark.processes


def test_after_so_many_tasks(engine: Engine, sample: ModuleType) -> None:
    most, tasks, workers = 7, 60, 2
    flags = ("--max-tasks-per-worker", str(most), "--prefetch", "4", "--max-restarts", "0", "--workers", str(workers))
    supervisor = engine.run(*flags)
    sample.app.schedule_many([sample.nap.call_after(n * 0.01)(0.01) for n in range(tasks)])
    wait_until(lambda: engine.ended() == tasks, 30)
    runs = engine.runs()
    assert all(len(run.starts) == 1 for run in runs.values())
    by_worker = Counter(run.starts[0][-1] for run in runs.values())
    assert max(by_worker.values()) == most
    # all but the last of each place ran as many as they may
    assert sum(count == most for count in by_worker.values()) >= len(by_worker) - workers
    least = tasks // most - workers
    wait_until(lambda: engine.total(supervisor, "dueq_process_restarts_total", cause="recycled") >= least, 5)
    assert engine.total(supervisor, "dueq_process_restarts_total", role="worker") == engine.total(
        supervisor, "dueq_process_restarts_total"
    )
    for cause in ("exit", "signal", "hung"):
        assert engine.total(supervisor, "dueq_process_restarts_total", cause=cause) == 0
    assert engine.total(supervisor, "dueq_duplicates_total") == 0
    assert engine.total(supervisor, "dueq_tasks_finished_total", outcome="done") == tasks
    assert engine.stop(supervisor) == 0


@pytest.mark.long
def test_before_memory_runs_out(engine: Engine, sample: ModuleType) -> None:
    """Each task leaks 60 MiB; a fresh worker has less than 100."""
    supervisor = engine.run("--max-memory-per-worker", "200", "--workers", "1", "--max-restarts", "0")
    sample.app.schedule_many([sample.leak.call_after(0)(60) for _ in range(7)])
    wait_until(lambda: engine.ended() == 7, 30)
    runs = engine.runs()
    assert all(len(run.starts) == 1 for run in runs.values())
    by_worker = Counter(run.starts[0][-1] for run in runs.values())
    assert max(by_worker.values()) <= 4, "with the fourth it is too large, whatever it began with"
    assert max(by_worker.values()) >= 2, "with one it is not"
    recycled = engine.total(supervisor, "dueq_process_restarts_total", role="worker", cause="recycled")
    assert len(by_worker) - 1 <= recycled <= len(by_worker)
    assert engine.total(supervisor, "dueq_duplicates_total") == 0
    assert engine.stop(supervisor) == 0
