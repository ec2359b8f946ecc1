"""When a dispatcher rehearses."""

from __future__ import annotations

import pytest

from dueq.core.dispatcher.rehearsal import Rehearsal

MS = 0.001


def test_after_a_long_sleep_there_is_one_in_time() -> None:
    rehearsal = Rehearsal()
    assert rehearsal.sleep(1.0, trip=0.2 * MS) == pytest.approx(1.0 - 20.4 * MS)
    assert rehearsal.begins(20 * MS)
    assert not rehearsal.begins(20 * MS), "one is enough"


def test_both_its_requests_are_over_in_time_over_a_slow_link() -> None:
    rehearsal = Rehearsal()
    assert rehearsal.sleep(1.0, trip=40 * MS) == pytest.approx(1.0 - 100 * MS)
    assert rehearsal.begins(80 * MS)


def test_over_a_very_slow_link_it_begins_all_the_sooner() -> None:
    rehearsal = Rehearsal()
    assert rehearsal.sleep(1.0, trip=100 * MS) == pytest.approx(1.0 - 220 * MS)
    assert rehearsal.begins(170 * MS)


@pytest.mark.parametrize(("left", "trip"), [(99 * MS, 0.0), (119 * MS, 0.0), (190 * MS, 40 * MS), (-1.0, 0.0)])
def test_a_short_sleep_needs_none(left: float, trip: float) -> None:
    rehearsal = Rehearsal()
    assert rehearsal.sleep(left, trip) is None
    assert not rehearsal.begins(20 * MS)


def test_a_sleep_that_was_interrupted_is_followed_by_none() -> None:
    rehearsal = Rehearsal()
    rehearsal.sleep(1.0, trip=0.0)
    rehearsal.interrupted()
    assert not rehearsal.begins(20 * MS)


@pytest.mark.parametrize("next_in", [None, 0.0, 3600.0])
def test_no_worker_is_woken_for_a_task_that_is_gone_or_due(next_in: float | None) -> None:
    rehearsal = Rehearsal()
    rehearsal.sleep(1.0, trip=0.0)
    assert not rehearsal.begins(next_in)
