"""When a worker has done enough."""

from __future__ import annotations

from dueq.core.worker.recycling import NO_RECYCLING, Recycling, resident_bytes


def test_tasks_left() -> None:
    assert [Recycling(tasks=3).left(run) for run in range(5)] == [3, 2, 1, 0, 0]


def test_no_limits() -> None:
    assert NO_RECYCLING.left(10**9) is None
    assert not NO_RECYCLING.too_large()


def test_memory_is_what_is_held_now() -> None:
    before = resident_bytes()
    ballast = bytearray(b"x" * (64 << 20))
    grown = resident_bytes() - before
    assert 60 << 20 <= grown <= 80 << 20
    assert Recycling(memory_mib=(before + (30 << 20)) / (1 << 20)).too_large()
    del ballast
    assert resident_bytes() - before < 20 << 20, "what was given back does not count"
