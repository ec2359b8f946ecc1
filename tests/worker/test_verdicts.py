"""What a task decides about itself, by what it raises, and what its definition says about errors."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dueq import Backoff, Bury, Dueq, RetryIn, Snooze
from dueq.core.app.task import Task
from dueq.core.clock import US
from dueq.core.errors import ConfigurationError, InvalidTask, NaiveDatetime
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.store.values import Outcome
from dueq.core.worker.failing import outcome_of

POLICY: dict[str, Any] = {"retries": 1, "backoff": Backoff(first=8, most=8)}
CLAIM = Record("t1", State.LEASED, 0, "default", 1, 0, 0, "", 0, 7, "w1", b"")


def task(**policy: Any) -> Task[[], None]:
    def decides() -> None: ...

    defined: Task[[], None] = Dueq("redis://127.0.0.1:1").task(name="decides", **(POLICY | policy))(decides)
    return defined


def judged(error: BaseException, claim: Record = CLAIM, **policy: Any) -> Outcome:
    return outcome_of(claim, "decides", task(**policy), error)


def test_a_task_buries_itself_whatever_retries_are_left() -> None:
    outcome = judged(Bury("the card has expired"), retries=9, retry_for=(Bury,))
    assert (outcome.kind, outcome.reason) == ("dead", "the card has expired")
    assert judged(Bury()).reason == "buried by the task itself"


@pytest.mark.parametrize("delay", [60, 60.0, timedelta(minutes=1)])
def test_a_task_says_when_it_is_to_be_tried_again(delay: Any) -> None:
    outcome = judged(RetryIn(delay), retry_for=(ValueError,), bury_for=(RetryIn,))
    assert (outcome.kind, outcome.delay_us) == ("retry", 60 * US)
    assert outcome.reason == "it asked to be tried again"
    assert judged(RetryIn(delay, "busy")).reason == "busy"


def test_it_counts_as_a_retry() -> None:
    outcome = judged(RetryIn(60, "busy"), CLAIM._replace(retries=1))
    assert (outcome.kind, outcome.reason) == ("dead", "busy (after 1 retries)")


def test_a_task_puts_itself_off() -> None:
    when = datetime(2030, 1, 1, tzinfo=UTC)
    outcome = judged(Snooze(when, reason="closed"), CLAIM._replace(retries=1))
    assert (outcome.kind, outcome.due_us, outcome.reason) == ("snooze", int(when.timestamp()) * US, "closed")
    outcome = judged(Snooze(after=timedelta(seconds=2)))
    assert (outcome.kind, outcome.due_us, outcome.delay_us) == ("snooze", 0, 2 * US)
    at = time.time()
    assert judged(Snooze(at)).due_us == round(at * US)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RetryIn(0), ConfigurationError),
        (lambda: RetryIn(-1), ConfigurationError),
        (lambda: RetryIn(float("nan")), ConfigurationError),
        (lambda: RetryIn("soon"), ConfigurationError),  # type: ignore[arg-type]
        (lambda: Snooze(), ConfigurationError),
        (lambda: Snooze(1, after=1), ConfigurationError),
        (lambda: Snooze(datetime(2030, 1, 1)), NaiveDatetime),
        (lambda: Snooze(1e18), InvalidTask),
        (lambda: Snooze(after="soon"), InvalidTask),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused_where_it_is_raised(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


class Odd(Bury):
    def __init__(self) -> None: ...

    def __str__(self) -> str:
        raise SystemExit


def test_a_verdict_of_the_applications_own_that_is_broken_is_an_error_like_others() -> None:
    assert judged(Odd()).kind == "retry"
    assert judged(Odd(), CLAIM._replace(retries=1)).kind == "dead"


def odd(verdict: BaseException, **attributes: Any) -> BaseException:
    vars(verdict).update(attributes)
    return verdict


@pytest.mark.parametrize("value", [-5, float("inf"), 10**300, True, 1500.5, None, "5", float("nan"), 1e15])
def test_what_an_application_puts_into_a_verdict_reaches_no_record(value: Any) -> None:
    for verdict in (odd(Snooze(1), due_us=value), odd(Snooze(1), delay_us=value), odd(RetryIn(1), seconds=value)):
        outcome = judged(verdict)
        assert outcome.kind == "retry", verdict
        assert type(outcome.delay_us) is int
        assert 0 <= outcome.delay_us <= 3600 * US, "by the backoff, or what a second can be"


class Net(Exception): ...


class Slow(Net): ...


@pytest.mark.parametrize(
    ("policy", "error", "kind"),
    [
        ({"retry_for": (Net,)}, Net(), "retry"),
        ({"retry_for": (Net,)}, Slow(), "retry"),
        ({"retry_for": (Net,)}, ValueError(), "dead"),
        ({"retry_for": ()}, ValueError(), "dead"),
        ({"retry_for": Net}, Slow(), "retry"),
        ({"bury_for": (Net,)}, Slow(), "dead"),
        ({"bury_for": [Net]}, ValueError(), "retry"),
        ({"bury_for": Slow, "retry_for": Net}, Slow(), "dead"),
        ({"bury_for": Slow, "retry_for": Net}, Net(), "retry"),
        ({"bury_for": (KeyboardInterrupt,)}, KeyboardInterrupt(), "dead"),
    ],
)
def test_some_errors_are_tried_again_and_some_are_not(policy: Any, error: BaseException, kind: str) -> None:
    assert judged(error, **policy).kind == kind


@pytest.mark.parametrize("name", ["retry_for", "bury_for"])
@pytest.mark.parametrize("value", ["ValueError", ValueError("x"), (int,), [None], 3])
def test_what_names_no_errors_is_refused_at_the_definition(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} has .* write {name}=\\(ConnectionError, TimeoutError\\)"):
        task(**{name: value})


def test_a_decision_is_logged_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dueq.worker")
    for verdict in (Bury("no"), RetryIn(3, "busy"), Snooze(after=3), RetryIn(3)):
        judged(verdict)
    assert [record.exc_info for record in caplog.records] == [None] * 4
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "INFO", "WARNING"]
    assert "task t1 (decides) snoozes for 3 s" in caplog.text
