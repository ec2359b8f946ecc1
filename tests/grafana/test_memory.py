"""The memory of a supervisor's processes, on its metrics page."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from dueq.core.config import Settings
from dueq.core.telemetry.collector import Collector
from dueq.core.telemetry.counters import Counters


def memory(collector: Collector) -> dict[str, float]:
    """Bytes by role."""
    [family] = [family for family in collector.collect() if family.name == "dueq_process_resident_memory_bytes"]
    return {sample.labels["role"]: sample.value for sample in family.samples}


def test_memory_is_shown_by_role_while_a_process_lives() -> None:
    collector = Collector(Settings("redis://127.0.0.1:1", "shop"), "lua", ["default"], {})
    pages = [Counters(), Counters()]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert memory(collector)["worker"] == 0
        collector.adopt(pages[0], "worker", os.getpid())
        collector.adopt(pages[1], "worker", child.pid)
        ours, theirs = psutil.Process().memory_info().rss, psutil.Process(child.pid).memory_info().rss
        found = memory(collector)
        assert found["worker"] == pytest.approx(ours + theirs, rel=0.2)
        assert found["supervisor"] == pytest.approx(ours, rel=0.2)
        assert found["dispatcher"] == found["reaper"] == 0

        child.kill()
        child.wait()
        assert memory(collector)["worker"] == pytest.approx(ours, rel=0.2)  # dead, and nobody has buried it yet
        collector.retire(pages[1])
        collector.retire(pages[0])
        assert memory(collector)["worker"] == 0
    finally:
        child.kill()
        child.communicate()
        collector.close()
        collector.own.close()
