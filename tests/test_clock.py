"""Due times and delays: exact, and mistakes are refused rather than guessed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dueq.core.clock import US, ServerClock, delay_us, due_us, now_us
from dueq.core.errors import InvalidTask, NaiveDatetime


def test_now() -> None:
    assert abs(now_us() - time.time() * US) < US


def test_aware_datetimes_are_exact() -> None:
    moment = datetime(2031, 5, 6, 7, 8, 9, 123457, tzinfo=UTC)
    assert due_us(moment) % US == 123457
    assert due_us(moment.astimezone(timezone(timedelta(hours=5, minutes=30)))) == due_us(moment)
    assert due_us(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=1)) == 1


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9998, 12, 31), timezones=st.just(UTC)))
def test_every_datetime_comes_back(moment: datetime) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=due_us(moment)) == moment


def test_naive_datetimes_are_refused() -> None:
    with pytest.raises(NaiveDatetime, match="time zone"):
        due_us(datetime(2031, 5, 6))  # noqa: DTZ001, RUF100


def test_seconds() -> None:
    assert due_us(12) == 12 * US
    assert due_us(1.5) == 1_500_000
    assert due_us(-5) == 0


def test_milliseconds_are_refused() -> None:
    with pytest.raises(InvalidTask, match="milliseconds"):
        due_us(time.time() * 1000 * 1000)
    with pytest.raises(InvalidTask, match="milliseconds"):
        delay_us(time.time() * 1000 * 1000)


@pytest.mark.parametrize("value", ["12", None, True, float("nan"), float("inf"), 1j, [1]])
def test_no_times(value: Any) -> None:
    with pytest.raises(InvalidTask):
        due_us(value)
    with pytest.raises(InvalidTask):
        delay_us(value)


def test_delays() -> None:
    assert delay_us(timedelta(days=2, seconds=3, microseconds=4)) == (2 * 86_400 + 3) * US + 4
    assert delay_us(0.25) == 250_000
    assert delay_us(-1) == delay_us(timedelta(seconds=-1)) == 0


def test_the_server_s_clock_is_bracketed() -> None:
    clock = ServerClock()
    received = time.monotonic_ns()
    clock.observe(1_000_000, received - 5_000_000, received)
    earliest, latest = clock.earliest_us(), clock.latest_us()
    assert earliest >= 1_000_000
    assert 5_000 <= latest - earliest < 1_000_000


SECOND = 1_000_000_000


def width_us(clock: ServerClock) -> int:
    earliest = clock.earliest_us()  # first: what passes between the two questions widens
    return clock.latest_us() - earliest


def test_the_tightest_bounds_of_many_answers_count() -> None:
    clock, base = ServerClock(), time.monotonic_ns()
    for number, (before, after) in enumerate([(900, 100), (100, 900), (700, 700)]):  # microseconds
        at = base + number * 1_000_000
        clock.observe(5_000_000 + number * 1000, at - before * 1000, at + after * 1000)
    assert 199 <= width_us(clock) < 400


def test_an_answer_that_was_long_in_coming_says_only_that_it_is_not_earlier() -> None:
    clock, base = ServerClock(), time.monotonic_ns() - 31 * SECOND
    clock.observe(1_000_000, base, base + 100_000)
    clock.observe(31_000_150, base + 200_000, base + 30 * SECOND + 100_000)
    drift_us = 31 * 10
    assert 0 <= width_us(clock) <= 100 + drift_us
    assert clock.earliest_us() >= 32_000_000 - drift_us
    clock.observe(61_000_000, base + 200_000, base + 30 * SECOND + 200_000)  # Redis's clock was set
    assert 62_000_000 - 1000 <= clock.earliest_us() <= clock.latest_us() < 63_000_000


def test_a_clock_that_is_set_back_is_followed() -> None:
    clock, base = ServerClock(), time.monotonic_ns()
    clock.observe(9_000_000, base, base + 1000)
    clock.observe(2_000_000, base + 2000, base + 3000)
    assert 2_000_000 <= clock.earliest_us() <= clock.latest_us() < 8_000_000


def test_bounds_widen_as_time_goes_by_and_a_prompt_answer_narrows_them() -> None:
    clock, base = ServerClock(), time.monotonic_ns() - 100 * SECOND
    assert clock.age_s > 1e9
    clock.observe(1_000_000, base, base + 1_000)
    assert 2_000 <= width_us(clock) < 3_000  # 10 microseconds a second, each way
    assert 99 < clock.age_s < 110
    clock.observe(101_000_150, base + 100 * SECOND - 100_000, base + 100 * SECOND + 100_000)
    assert width_us(clock) < 300
    assert clock.age_s < 5
