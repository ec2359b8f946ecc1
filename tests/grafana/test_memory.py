"""The memory of a supervisor's processes, on its page."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from dueq.core.config import Settings
from dueq.core.telemetry.collector import Board
from dueq.core.telemetry.counters import Tally


def memory(board: Board) -> dict[str, float]:
    """Bytes by role."""
    [family] = [family for family in board.collect() if family.name == "dueq_process_resident_memory_bytes"]
    return {sample.labels["role"]: sample.value for sample in family.samples}


def test_memory_is_shown_by_role_while_a_process_lives() -> None:
    board = Board(Settings("redis://127.0.0.1:1", "shop"), "lua", ["default"], {})
    tallies = [Tally(), Tally()]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert memory(board)["worker"] == 0
        board.adopt(tallies[0], "worker", os.getpid())
        board.adopt(tallies[1], "worker", child.pid)
        ours, theirs = psutil.Process().memory_info().rss, psutil.Process(child.pid).memory_info().rss
        found = memory(board)
        assert found["worker"] == pytest.approx(ours + theirs, rel=0.2)
        assert found["supervisor"] == pytest.approx(ours, rel=0.2)
        assert found["dispatcher"] == found["reaper"] == 0

        child.kill()
        child.wait()
        assert memory(board)["worker"] == pytest.approx(ours, rel=0.2)  # dead, and nobody has buried it yet
        board.retire(tallies[1])
        board.retire(tallies[0])
        assert memory(board)["worker"] == 0
    finally:
        child.kill()
        child.communicate()
        board.close()
        board.own.close()
