"""``dueq run`` as the first process of a container: it collects orphans."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from types import ModuleType

import psutil
import pytest
from support.engine import Engine
from support.waiting import wait_until

pytestmark = pytest.mark.processes

UNDER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@pytest.fixture(scope="module", autouse=True)
def permitted() -> None:
    """A PID namespace of its own takes rights that not everybody has."""
    if sys.platform != "linux":
        pytest.skip("only Linux has PID namespaces")
    tried = subprocess.run([*UNDER, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no PID namespace of our own: {tried.stderr.strip()}")


def test_orphans_are_buried_and_its_own_children_are_not_confused_with_them(engine: Engine, sample: ModuleType) -> None:
    outside = engine.run("--workers", "2", under=UNDER)
    assert engine.state(outside)["pid"] == 1
    [init] = psutil.Process(outside.pid).children()
    handles = [sample.leave_orphans.after(0)(10) for _ in range(3)]

    def orphans() -> int:
        found = 0
        for child in init.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # buried just now
                found += child.name() == "sleep"
        return found

    wait_until(orphans, 10, what="they came to us")
    wait_until(lambda: engine.ended() == len(handles), 10)
    wait_until(lambda: not orphans(), 0.5 + 1 + 1)  # their sleep, a look, and a second for a busy machine
    assert not [child for child in init.children(recursive=True) if child.status() == psutil.STATUS_ZOMBIE]
    workers = [child for child in init.children() if "dueq: worker" in " ".join(child.cmdline())]
    workers[0].kill()
    wait_until(lambda: engine.total(outside, "dueq_process_restarts_total", role="worker", cause="signal") == 1, 5)
    wait_until(lambda: engine.total(outside, "dueq_processes", role="worker", state="ready") == 2, 5)
    os.kill(init.pid, signal.SIGTERM)
    assert outside.wait(10) == 0
    assert all(len(run.starts) == 1 for run in engine.runs().values())
