"""A page of counters that something else was written over: its reader survives, and says so."""

from __future__ import annotations

import os
import random

import pytest

from dueq.core.config import Settings
from dueq.core.supervisor.watchdog import Watchdog
from dueq.core.telemetry.collector import Board
from dueq.core.telemetry.counters import Tally
from dueq.core.telemetry.metrics import PROCESS_STATES

SIZE = 16384
FIRST = {"strategy": "lua", "queue": "default", "reason": "first"}


@pytest.fixture
def tally() -> Tally:
    tally = Tally(SIZE)
    tally.counter("dueq_deliveries_total", **FIRST).inc(3)
    tally.state = "ready"
    return tally


def _read_all(tally: Tally) -> None:
    assert tally.state in PROCESS_STATES
    assert all(number >= 0 for series in tally.series() for number in series.values)
    assert isinstance(tally.begun, list)
    Watchdog(15, 30).hang(tally, 0.0, 10.0)
    board = Board(Settings(redis_url="redis://127.0.0.1:1", namespace="n"), "lua", ["default"], {"mail": "default"})
    board.adopt(tally, "worker")
    list(board._counted())
    board.retire(tally)
    board.close()


@pytest.mark.parametrize("text", [b"printed by a task\n", b"\n", b"[" * SIZE, b"\xff" * SIZE, bytes(SIZE)])
def test_what_is_printed_over_it_is_noticed(tally: Tally, text: bytes) -> None:
    assert Watchdog(15, 30).hang(tally, 10.0, 10.0) is None
    os.pwrite(tally._fd, text, 0)
    assert tally.damaged
    assert Watchdog(15, 30).hang(tally, 0.0, 10.0) is not None
    tally.counter("dueq_deliveries_total", **FIRST).inc()
    tally.counter("dueq_redis_commands_total", role="worker").inc()
    _read_all(tally)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_that_lies_in_it_ends_its_reader(tally: Tally, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        at = chance.randrange(0, 800)
        os.pwrite(tally._fd, chance.choice([chance.randbytes(8), b"\0" * 8, b'["a"]123', b"\x01" + b"\0" * 7]), at)
    _read_all(tally)
