"""The wake-up floor is measured between two real processes, and leaves nothing behind."""

from __future__ import annotations

import psutil

from dueq.core.client.connection import connect
from dueq.harness.clocks import clock_offset_us
from dueq.harness.floor import measure


def test_floor_is_measured_and_leaves_nothing(redis_url: str) -> None:
    floor = measure(redis_url, "floor-test", rounds=30)
    assert floor.rounds == 30
    assert 0 < floor.p50 <= floor.p99 < 1000
    client = connect(redis_url)
    assert list(client.scan_iter(match="dueq:{floor-test}:*")) == []
    assert [child for child in psutil.Process().children() if "dueq.harness.floor" in child.cmdline()] == []


def test_same_host_has_the_same_clock(redis_url: str) -> None:
    assert clock_offset_us(connect(redis_url)) == 0


class _Ahead:
    """A server whose clock is an hour ahead."""

    def time(self) -> tuple[int, int]:
        import time

        now_us = time.time_ns() // 1000 + 3_600_000_000
        return now_us // 1_000_000, now_us % 1_000_000


def test_clock_that_is_ahead_is_told() -> None:
    offset_us = clock_offset_us(_Ahead())  # type: ignore[arg-type]
    assert 0 <= offset_us - 3_600_000_000 < 100_000
