"""When dead children are started again: the policies alone."""

from __future__ import annotations

import pytest

from dueq.core.app.policy import Backoff
from dueq.core.errors import ConfigurationError
from dueq.core.supervisor.restarts import RestartBackoff, RestartLimit


def test_restarts_within_the_window_are_limited() -> None:
    limit = RestartLimit(most=3, window=10.0)
    assert [limit.note(at) for at in (0.0, 1.0, 2.0)] == [True] * 3
    assert not limit.note(9.9)


def test_restarts_outside_the_window_do_not_count() -> None:
    limit = RestartLimit(most=2, window=10.0)
    assert all(limit.note(at) for at in (0.0, 6.0, 12.0, 18.0, 24.0))


def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer() -> None:
    backoff = RestartBackoff()
    waits = [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert [backoff.delay(0.0, draw=1.0) for _ in range(9)] == pytest.approx(waits)


def test_restarts_do_not_come_all_at_once() -> None:
    """Each wait is drawn from its upper half."""
    backoffs = [RestartBackoff() for _ in range(50)]
    for backoff in backoffs:
        backoff.delay(0.0)
    waits = [backoff.delay(0.0) for backoff in backoffs]
    assert all(0.05 <= wait <= 0.1 for wait in waits)
    assert len(set(waits)) > 25


def test_a_long_life_forgives_earlier_deaths() -> None:
    backoff = RestartBackoff()
    for _ in range(5):
        backoff.delay(0.0)
    assert backoff.delay(RestartBackoff.LONG_LIFE) == 0.0


def test_task_backoff_doubles_with_jitter_up_to_the_most() -> None:
    backoff = Backoff(first=1.0, factor=2.0, most=10.0)
    assert [backoff.delay(used, draw=0.0) for used in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.delay(2, draw=0.999) == pytest.approx(4.0, rel=0.01)
    assert backoff.delay(100_000, draw=0.0) == 5.0


def test_task_backoff_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="most >= first"):
        Backoff(first=10.0, most=1.0)
