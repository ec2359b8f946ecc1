"""How long before the due time a dispatcher asks."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from dueq.core.dispatcher.lead_time import LeadTime

MS = 0.001
GAP = 10 * MS
FAR = 8 * MS


def led(seconds: float) -> LeadTime:
    """A lead that has been learnt."""
    lead_time = LeadTime()
    lead_time.seconds = seconds
    return lead_time


def test_a_late_task_pulls_it_up_by_a_tenth() -> None:
    lead_time = LeadTime()
    assert lead_time.sleep(GAP) == GAP
    lead_time.received(0.5 * MS, GAP)
    assert lead_time.seconds == pytest.approx(0.05 * MS)
    assert lead_time.sleep(GAP) == pytest.approx(GAP - 0.05 * MS)


def test_a_question_that_comes_early_and_the_lateness_after_it_pull_it_down() -> None:
    lead_time = led(0.5 * MS)
    lead_time.sleep(GAP)
    lead_time.received(None, 0.2 * MS)
    assert lead_time.seconds == pytest.approx(0.48 * MS)
    assert lead_time.sleep(0.1 * MS) < 0, "asks again at once"
    lead_time.received(None, 0.05 * MS)
    assert lead_time.seconds == pytest.approx(0.48 * MS)
    assert lead_time.sleep(0.01 * MS) < 0
    lead_time.received(0.1 * MS, GAP)
    assert lead_time.seconds == pytest.approx(0.47 * MS)


def test_it_is_bounded_whatever_happens() -> None:
    lead_time = LeadTime()
    for _ in range(100):
        lead_time.sleep(GAP)
        lead_time.received(3600.0, GAP)
        assert lead_time.sleep(GAP) >= GAP - MS
    assert lead_time.seconds == MS
    for _ in range(100):
        lead_time.sleep(GAP)
        lead_time.received(None, 0.5 * MS)
        lead_time.sleep(0.4 * MS)
        lead_time.received(3600.0, GAP)
    assert lead_time.seconds == 0


def test_a_short_sleep_is_neither_shortened_nor_learnt_from() -> None:
    lead_time = led(0.5 * MS)
    assert lead_time.sleep(1.9 * MS) == 1.9 * MS
    lead_time.received(0.3 * MS, None)
    lead_time.sleep(1.9 * MS)
    lead_time.received(None, 0.1 * MS)
    assert lead_time.sleep(0.1 * MS) == 0.1 * MS, "as far as it knows, nothing was asked too early"
    assert lead_time.seconds == 0.5 * MS


def test_a_backlog_teaches_nothing() -> None:
    lead_time = LeadTime()
    lead_time.sleep(GAP)
    lead_time.received(0.5 * MS, 0)
    for _ in range(100):
        lead_time.received(0.9 * MS, 0)
    assert lead_time.seconds == pytest.approx(0.05 * MS)


def test_a_sleep_that_was_interrupted_teaches_nothing() -> None:
    lead_time = led(0.5 * MS)
    lead_time.sleep(GAP)
    lead_time.interrupted()
    lead_time.received(0.5 * MS, GAP)
    assert lead_time.seconds == 0.5 * MS


@pytest.mark.parametrize("next_in", [FAR, 3600.0, None])
def test_a_task_that_somebody_else_has_moved_teaches_nothing(next_in: float | None) -> None:
    lead_time = led(0.5 * MS)
    lead_time.sleep(GAP)
    lead_time.received(None, next_in)
    assert lead_time.sleep(0.3 * MS) == 0.3 * MS
    lead_time.received(0.3 * MS, None)
    assert lead_time.seconds == 0.5 * MS


def test_a_clock_that_steps_back_does_not_make_it_spin() -> None:
    lead_time = led(0.5 * MS)
    lead_time.sleep(GAP)
    lead_time.received(None, 5.0)
    assert lead_time.sleep(5.0) == pytest.approx(5.0 - 0.5 * MS)


@dataclass(frozen=True)
class Way:
    """To Redis: from the end of a sleep until it looks, without and with what is left to chance; and a second trip."""

    least: float
    jitter: float
    trip: float

    def times(self) -> Iterator[float]:
        chance = random.Random(1)
        while True:
            yield self.least + chance.lognormvariate(math.log(self.jitter), 0.6)


@dataclass
class Outcomes:
    late: list[float]
    questions: float
    """For a task, on average."""


def drive(way: Way, lead_time: Callable[[], LeadTime] = LeadTime, tasks: int = 5000) -> Outcomes:
    """What becomes of tasks ``GAP`` apart, once the lead has settled."""
    one, questions = lead_time(), 0
    late: list[float] = []
    for took in itertools.islice(way.times(), tasks):
        at = one.sleep(GAP) - GAP + took  # when Redis looks, from the due time on
        questions += 1
        while at < 0:
            one.received(None, -at)
            assert one.sleep(-at - way.trip / 2) <= 0
            at += way.trip
            questions += 1
        one.received(at, GAP)
        late.append(at)
    return Outcomes(late[500:], questions / tasks)


@pytest.mark.parametrize(
    ("way", "most_questions"),
    [
        pytest.param(Way(0.15 * MS, 0.25 * MS, 0.18 * MS), 2.0, id="the same host"),
        pytest.param(Way(0.25 * MS, 0.25 * MS, 0.5 * MS), 1.5, id="another host"),
        pytest.param(Way(0.6 * MS, 0.05 * MS, 1 * MS), 1.15, id="far"),
    ],
)
def test_tasks_are_much_less_late_for_few_more_questions(way: Way, most_questions: float) -> None:
    without = drive(way, _Without)
    found = drive(way)
    print(f"late {statistics.fmean(found.late) / MS:.3f} ms, without {statistics.fmean(without.late) / MS:.3f} ms; "
          f"{found.questions:.2f} questions a task")  # fmt: skip
    assert without.questions == 1
    assert found.questions <= most_questions
    assert statistics.median(found.late) <= statistics.median(without.late) / 2
    assert statistics.fmean(found.late) <= 0.6 * statistics.fmean(without.late)


def test_what_comes_late_now_and_then_does_not_make_it_ask_over_and_over() -> None:
    class Hiccups(Way):
        def times(self) -> Iterator[float]:
            for number in itertools.count():
                yield 2 * MS if number % 20 == 0 else 0.08 * MS

    assert drive(Hiccups(0, 0, 0.04 * MS)).questions <= 3


class _Without(LeadTime):
    def sleep(self, left: float) -> float:
        return left


def test_over_a_long_way_there_is_no_lead_since_a_second_trip_is_dear() -> None:
    lead_time = led(0.5 * MS)
    lead_time.received(None, GAP, 40 * MS)
    assert GAP < lead_time.sleep(GAP) <= GAP + MS
    lead_time.received(None, 0.1 * MS, 40 * MS)
    assert lead_time.seconds == 0.5 * MS


def test_one_answer_that_stalls_makes_no_way_long() -> None:
    lead_time = led(0.5 * MS)
    lead_time.received(None, GAP, 0.2 * MS)
    lead_time.received(None, GAP, 400 * MS)
    assert lead_time.sleep(GAP) == GAP - 0.5 * MS
