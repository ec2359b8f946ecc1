"""When a living process counts as hung: the rules alone."""

from __future__ import annotations

import time
import types
from collections.abc import Iterator

import pytest

from dueq.core.supervisor.watchdog import BOOT_S, Watchdog
from dueq.core.telemetry import counters as counters_module
from dueq.core.telemetry.counters import Counters

LEASE, HANG = 10.0, 30.0


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(counters_module, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def counters(clock: Clock) -> Iterator[Counters]:
    counters = Counters(1 << 12)
    yield counters
    counters.close()


@pytest.fixture
def watchdog() -> Watchdog:
    return Watchdog(LEASE, HANG)


def test_a_loop_must_come_round(watchdog: Watchdog, counters: Counters) -> None:
    counters.turn()
    assert watchdog.hang(counters, 0, 1000 + HANG) is None
    hang = watchdog.hang(counters, 0, 1000 + HANG + 0.1)
    assert hang is not None
    assert "loop stood still for 30.1 s" in hang.why
    assert not hang.token


def test_a_loop_that_sleeps_on_purpose_has_its_sleep_on_top(watchdog: Watchdog, counters: Counters) -> None:
    counters.turn(3600)
    assert watchdog.hang(counters, 0, 4600 + HANG) is None
    assert watchdog.hang(counters, 0, 4600 + HANG + 0.1)


def test_while_a_task_runs_its_interpreter_must_go_on_not_its_loop(
    watchdog: Watchdog, counters: Counters, clock: Clock
) -> None:
    counters.turn()
    counters.begin(7, None)
    clock.now += 1000
    counters.beat()
    assert watchdog.hang(counters, 0, 2000 + LEASE / 2) is None
    hang = watchdog.hang(counters, 0, 2000 + LEASE / 2 + 0.1)
    assert hang is not None
    assert "token 7" in hang.why
    assert hang.token


def test_a_task_that_begins_is_a_sign_of_life(watchdog: Watchdog, counters: Counters) -> None:
    counters.begin(7, None)
    assert watchdog.hang(counters, 0, 1000 + LEASE / 2) is None


def test_a_task_must_end_by_its_hard_timeout(watchdog: Watchdog, counters: Counters, clock: Clock) -> None:
    counters.begin(7, 3.0)
    assert watchdog.next_deadline(counters) == 1003
    assert watchdog.hang(counters, 0, 1002.9) is None
    hang = watchdog.hang(counters, 0, 1003)
    assert hang is not None
    assert "hard timeout" in hang.why
    assert hang.token


def test_the_hard_timeout_of_a_task_that_has_ended_is_nothing(
    watchdog: Watchdog, counters: Counters, clock: Clock
) -> None:
    counters.begin(7, 3.0)
    counters.end()
    counters.turn(100)
    assert watchdog.next_deadline(counters) is None
    assert watchdog.hang(counters, 0, 1050) is None
    counters.begin(8, None)
    assert watchdog.next_deadline(counters) is None, "the next one has none"
    assert watchdog.hang(counters, 0, 1004) is None


def test_a_process_has_its_time_to_begin(watchdog: Watchdog, counters: Counters) -> None:
    assert watchdog.hang(counters, 1000, 1000 + BOOT_S) is None
    hang = watchdog.hang(counters, 1000, 1000 + BOOT_S + 1)
    assert hang is not None
    assert not hang.token


def test_without_a_hang_timeout_only_tasks_have_limits(counters: Counters, clock: Clock) -> None:
    watchdog = Watchdog(LEASE, 0)
    counters.turn()
    assert watchdog.hang(counters, 0, 1e9) is None
    counters.begin(7, None)
    assert watchdog.hang(counters, 0, 1e9) is None
    counters.begin(7, 3.0)
    assert watchdog.hang(counters, 0, 1003)


@pytest.mark.parametrize("hang_timeout", [HANG, 2.0])
def test_after_the_supervisor_overslept_nobody_is_judged_for_a_while(
    counters: Counters, clock: Clock, hang_timeout: float
) -> None:
    watchdog = Watchdog(LEASE, hang_timeout)
    watchdog.asleep(1000)
    counters.begin(7, 3.0)
    watchdog.awake(2000)
    lenient = 2000 + max(LEASE / 2, hang_timeout)
    assert watchdog.hang(counters, 0, lenient - 0.1) is None
    assert watchdog.next_deadline(counters) == lenient, "and nobody waits for a moment that is past"
    assert watchdog.hang(counters, 0, lenient)


def test_a_turn_that_took_a_little_long_is_no_excuse(watchdog: Watchdog, counters: Counters) -> None:
    watchdog.awake(1000)
    counters.begin(7, 3.0)
    watchdog.awake(1004.5)
    assert watchdog.hang(counters, 0, 1004.5)


@pytest.mark.parametrize(("slept", "excused"), [(LEASE / 4 - 0.1, False), (LEASE / 4 + 0.1, True)])
def test_a_pause_that_silence_might_be_due_to_is_an_excuse(counters: Counters, slept: float, excused: bool) -> None:
    watchdog = Watchdog(LEASE, HANG)
    counters.begin(7, slept - 0.05)
    watchdog.asleep(1000)
    watchdog.awake(1000 + slept)
    assert (watchdog.hang(counters, 0, 1000 + slept) is None) is excused


def test_the_counters_keep_the_time_that_all_processes_of_a_host_share() -> None:
    counters = Counters(1 << 12)
    before = time.monotonic()
    counters.begin(7, 3.0)
    assert before + 3 <= counters.deadline <= time.monotonic() + 3
    assert before <= counters.beaten_at <= time.monotonic()
    counters.close()
