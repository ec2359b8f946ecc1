"""Soft timeouts: an exception inside a task that runs too long. Also the two timeouts as values."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from support.finalizing import PLACES, in_del

from dueq.core.app.application import Dueq
from dueq.core.app.policy import Timeouts
from dueq.core.errors import ConfigurationError, TaskTimeout
from dueq.core.worker.soft_timeout import Alarm

LONG_S = 20.0  # that it passes would fail the test


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    before = signal.getsignal(signal.SIGALRM)
    timer = signal.setitimer(signal.ITIMER_REAL, 0)  # the test runner's own time limit, where it uses this
    yield Alarm()
    signal.setitimer(signal.ITIMER_REAL, *timer)
    signal.signal(signal.SIGALRM, before)


def test_a_function_that_sleeps_too_long_is_woken_by_the_exception(alarm: Alarm) -> None:
    began = time.monotonic()
    with pytest.raises(TaskTimeout, match=r"soft timeout of 0\.05 s"):
        alarm.run(0.05, time.sleep, (LONG_S,), {})
    assert 0.05 <= time.monotonic() - began < LONG_S


def test_so_is_one_that_computes(alarm: Alarm) -> None:
    def spin() -> None:
        while True:
            pass

    with pytest.raises(TaskTimeout):
        alarm.run(0.05, spin, (), {})


def test_what_ends_in_time_hears_nothing_of_it(alarm: Alarm) -> None:
    got: list[object] = []
    alarm.run(0.05, lambda *args, **kwargs: got.append((args, kwargs)), (1,), {"two": 2})
    assert got == [((1,), {"two": 2})]
    time.sleep(0.1)  # past its time
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_its_own_exception_passes(alarm: Alarm) -> None:
    with pytest.raises(ZeroDivisionError):
        alarm.run(LONG_S, lambda: 1 / 0, (), {})
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_it_may_clean_up_and_go_on_and_is_told_once(alarm: Alarm) -> None:
    told = 0

    def stubborn() -> None:
        nonlocal told
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            try:
                time.sleep(0.3)
            except TaskTimeout:
                told += 1

    alarm.run(0.05, stubborn, (), {})
    assert told == 1


def test_without_a_timeout_no_alarm_is_set(alarm: Alarm) -> None:
    seen: list[float] = []
    alarm.run(None, lambda: seen.append(signal.getitimer(signal.ITIMER_REAL)[0]), (), {})
    assert seen == [0]


def test_one_after_another(alarm: Alarm) -> None:
    """The rest of one's time is not the next one's."""
    for _ in range(3):
        with pytest.raises(TaskTimeout):
            alarm.run(0.02, time.sleep, (LONG_S,), {})
        alarm.run(0.2, time.sleep, (0.05,), {})


def test_an_alarm_at_the_very_end_strikes_nobody_else(alarm: Alarm) -> None:
    """Whenever it goes off around the function's end: the function is said to have timed out, or it is not; nothing is
    raised later."""
    timed_out = 0
    for turn in range(400):
        try:
            alarm.run(0.001, time.sleep, (0.0009 + turn % 20 * 0.00001,), {})
        except TaskTimeout:
            timed_out += 1
    time.sleep(0.01)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    print(f"{timed_out} of 400 timed out")


def test_a_soft_timeout_alone_brings_a_hard_one() -> None:
    assert Timeouts(5.0).hard == 5.0 + Timeouts.GRACE
    assert Timeouts(5.0, 6.0) == Timeouts(soft=5.0, hard=6.0)
    assert Timeouts(hard=3.0).soft is None
    assert Timeouts().hard is None


@pytest.mark.parametrize(
    ("soft", "hard"), [(0, None), (-1, None), (None, 0), (None, float("inf")), (float("nan"), None), (5, 5), (5, 4)]
)
def test_timeouts_that_make_no_sense_are_refused(soft: float | None, hard: float | None) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        Timeouts(soft, hard)


def test_a_tasks_own_timeouts_outrank_the_apps() -> None:
    app = Dueq("redis://127.0.0.1:1", soft_timeout=60, hard_timeout=90)

    @app.task()
    def plain() -> None: ...

    @app.task(hard_timeout=5)
    def own() -> None: ...

    assert plain.timeouts == Timeouts(60, 90)
    assert own.timeouts == Timeouts(None, 5)


@pytest.mark.parametrize("place", PLACES)
def test_where_python_ignores_it_it_comes_again(alarm: Alarm, place: Callable[[Callable[[], object]], None]) -> None:
    def in_a_bad_place_at_the_time() -> None:
        place(lambda: time.sleep(0.1))
        time.sleep(LONG_S)

    hook, began = sys.unraisablehook, time.monotonic()
    for _ in range(2):
        with pytest.raises(TaskTimeout):
            alarm.run(0.03, in_a_bad_place_at_the_time, (), {})
    assert time.monotonic() - began < LONG_S
    assert sys.unraisablehook is hook


def test_it_comes_again_after_a_report_of_something_else(alarm: Alarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda what: time.sleep(0.1))

    def reported_at_the_time() -> None:
        in_del(lambda: 1 / 0)
        time.sleep(LONG_S)

    began = time.monotonic()
    with pytest.raises(TaskTimeout):
        alarm.run(0.03, reported_at_the_time, (), {})
    assert time.monotonic() - began < LONG_S


def test_other_things_that_python_ignores_are_reported_as_ever(alarm: Alarm, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: reported.append(what.exc_type))
    alarm.run(LONG_S, in_del, (lambda: 1 / 0,), {})
    assert reported == [ZeroDivisionError]
