"""A page of counters that was overwritten with other data: its reader survives, and reports it."""

from __future__ import annotations

import os
import random

import pytest

from dueq.core.config import Settings
from dueq.core.supervisor.watchdog import Watchdog
from dueq.core.telemetry.collector import Collector
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.metrics import PROCESS_STATES

SIZE = 16384
FIRST = {"strategy": "lua", "queue": "default", "reason": "first"}


@pytest.fixture
def counters() -> Counters:
    counters = Counters(SIZE)
    counters.counter("dueq_deliveries_total", **FIRST).inc(3)
    counters.state = "ready"
    return counters


def _read_all(counters: Counters) -> None:
    assert counters.state in PROCESS_STATES
    assert all(number >= 0 for series in counters.series() for number in series.values)
    assert isinstance(counters.begun, list)
    Watchdog(15, 30).hang(counters, 0.0, 10.0)
    collector = Collector(
        Settings(redis_url="redis://127.0.0.1:1", namespace="n"), "lua", ["default"], {"mail": "default"}
    )
    collector.adopt(counters, "worker")
    list(collector._counted())
    collector.retire(counters)
    collector.close()


@pytest.mark.parametrize("text", [b"printed by a task\n", b"\n", b"[" * SIZE, b"\xff" * SIZE, bytes(SIZE)])
def test_what_is_printed_over_it_is_noticed(counters: Counters, text: bytes) -> None:
    assert Watchdog(15, 30).hang(counters, 10.0, 10.0) is None
    os.pwrite(counters._fd, text, 0)
    assert counters.damaged
    assert Watchdog(15, 30).hang(counters, 0.0, 10.0) is not None
    counters.counter("dueq_deliveries_total", **FIRST).inc()
    counters.counter("dueq_redis_commands_total", role="worker").inc()
    _read_all(counters)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_that_lies_in_it_ends_its_reader(counters: Counters, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        at = chance.randrange(0, 800)
        os.pwrite(counters._fd, chance.choice([chance.randbytes(8), b"\0" * 8, b'["a"]123', b"\x01" + b"\0" * 7]), at)
    _read_all(counters)
