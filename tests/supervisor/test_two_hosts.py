"""Two supervisors share a namespace, as on two hosts; one whole host vanishes."""

from __future__ import annotations

import signal
import subprocess
import time
from types import ModuleType

import psutil
import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq import strategies

pytestmark = pytest.mark.processes

LEASE, SLACK = 2.0, 5.0
TASKS = 16
NAP = 0.4  # so long that a host which has begun to work is at work still when it vanishes


def _vanish(process: subprocess.Popen[bytes]) -> set[str]:
    """SIGKILL to a supervisor and all that is under it, at once; returns the pids, as a ledger has them."""
    process.send_signal(signal.SIGSTOP)  # it must not see a child die
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 4
    for child in children:
        child.kill()
    process.kill()
    process.wait()
    return {str(child.pid) for child in children}


@pytest.mark.in_turn
@pytest.mark.parametrize("strategy", strategies.names())
def test_a_host_that_vanishes_is_taken_over(engine: Engine, sample: ModuleType, strategy: str) -> None:
    flags = ("--workers", "2", "--lease", str(LEASE), "--strategy", strategy)
    first, second = engine.run(*flags, wait=False), engine.run(*flags)
    wait_until(lambda: first.poll() is None and engine.is_ready(first), 20)
    sample.app.schedule_many([sample.nap.call_after(n * 0.05)(NAP) for n in range(TASKS)])
    both = {str(child.pid) for process in (first, second) for child in engine.children(process, "worker")}
    wait_until(lambda: both <= {run.starts[0][-1] for run in engine.runs().values()}, 15, what="both hosts work")
    gone = _vanish(first)
    vanished = time.time_ns() // 1000
    cut_off = {task_id for task_id, run in engine.runs().items() if not run.ends and run.starts[-1][-1] in gone}
    assert cut_off, "it was at work"
    wait_until(lambda: engine.ended() == TASKS, LEASE + SLACK + TASKS * NAP / 2)
    runs = engine.runs()
    for task_id, run in runs.items():
        here = [start for start in run.starts if start[-1] not in gone]
        assert len(here) <= 1
        if task_id in cut_off:
            [again] = here
            assert int(again[0]) - vanished <= (LEASE + SLACK) * 1e6
            assert int(again[2]) > int(run.starts[0][2]), "the token must rise"
    # a task that had ended may run again, too: its worker was killed before it said so
    repeated = sum(len(run.starts) - 1 for run in runs.values())
    assert len(cut_off) <= repeated <= 2
    assert engine.total(second, "dueq_duplicates_total", cause="lease_expired") == repeated
    assert engine.total(second, "dueq_duplicates_total") == repeated
    assert engine.total(second, "dueq_process_restarts_total") == 0
    assert engine.stop(second) == 0
