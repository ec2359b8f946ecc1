"""What happens to a task that failed, whatever its exception and its backoff do."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import Any

import pytest
from support import hostile

from dueq import Backoff, Dueq
from dueq.core.app.task import Task
from dueq.core.clock import US
from dueq.core.errors import WrongArguments
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.worker.failing import delay_of, outcome_of, reason_of

CLAIM = Record("t1", State.LEASED, 0, "default", 1, 0, 0, "", 0, 7, "w1", b"")


class Gives(Backoff):
    def delay(self, retries_used: int, draw: float | None = None) -> float:
        if isinstance(ANSWER[0], BaseException):
            raise ANSWER[0]
        return ANSWER[0]  # type: ignore[no-any-return]


ANSWER: list[Any] = [None]


@pytest.fixture(autouse=True)
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest would keep what is logged, hostile errors included, and ask them for their texts later."""
    monkeypatch.setattr(logging.getLogger("dueq.worker"), "propagate", False)


@pytest.fixture
def task() -> Task[[], None]:
    app = Dueq("redis://127.0.0.1:1")

    @app.task(name="hurts", retries=1, backoff=Gives())
    def hurts() -> None: ...

    return hurts


# by name: pytest would ask them for theirs
ERRORS: dict[str, tuple[BaseException, str]] = {
    "plain": (ValueError("boom"), "ValueError: boom"),
    "empty": (TimeoutError(), "TimeoutError"),
    "sour": (hostile.Sour(), "Sour: (its text raised SystemExit)"),
    "nameless": (hostile.Nameless("x"), "Nameless: x"),
    "spiked": (hostile.Spiked(), "Spiked: spikes"),
    "wordless": (hostile.Wordless(), "Wordless: (its text raised TypeError)"),
    "surrogate": (ValueError("\udc80"), "ValueError: \\udc80"),
    "exit": (SystemExit(3), "SystemExit: 3"),
}
NONSENSE: dict[str, Any] = {
    "nan": float("nan"),
    "infinite": float("inf"),
    "negative": -1.0,
    "none": None,
    "text": "3",
    "huge": 10**400,
    "huge below": -(10**400),
    "centuries": 1e300,
    "fraction": Fraction(1, 2),
    "list": [],
    "complex": 1j,
    "odd": hostile.Odd(3),
    "raises": RuntimeError("no"),
    "exits": SystemExit(3),
    "raises sour": hostile.Sour(),
    "raises nameless": hostile.Nameless(),
}


@pytest.mark.parametrize("which", ERRORS)
def test_a_reason_is_the_class_and_the_text_as_far_as_they_can_be_had(which: str) -> None:
    error, reason = ERRORS[which]
    assert reason_of(error) == reason


@pytest.mark.parametrize("which", NONSENSE)
def test_a_delay_that_is_none_is_the_default_one(task: Task[[], None], which: str) -> None:
    ANSWER[0] = NONSENSE[which]
    assert 0.5 <= delay_of(CLAIM, "hurts", task) <= 1
    assert 0.5 <= delay_of(CLAIM, "hurts", None) <= 1
    late = CLAIM._replace(retries=10**6)
    assert 1800 <= delay_of(late, "hurts", task) <= 3600, "capped"
    outcome = outcome_of(CLAIM, "hurts", task, ValueError("x"))
    assert outcome.kind == "retry"
    assert 0.5 * US <= outcome.delay_us <= US
    assert outcome_of(CLAIM._replace(retries=1), "hurts", task, ValueError("x")).kind == "dead"


@pytest.mark.parametrize("answer", [0, 3, 2.5, 0.0])
def test_a_delay_that_is_one_is_kept(task: Task[[], None], answer: float) -> None:
    ANSWER[0] = answer
    assert delay_of(CLAIM, "hurts", task) == answer


def test_what_no_try_can_help_is_not_tried_again(task: Task[[], None]) -> None:
    assert outcome_of(CLAIM, "hurts", task, WrongArguments("no")).kind == "dead"


class Bites(logging.Handler):
    """Of an application's: shows errors in its own way."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            repr(record.exc_info[1])


@pytest.mark.parametrize("which", ["plain", "sour", "nameless"])
def test_a_handler_that_raises_takes_nothing_from_the_outcome(task: Task[[], None], which: str) -> None:
    ANSWER[0] = 1.0
    logger, handler = logging.getLogger("dueq.worker"), Bites()
    logger.addHandler(handler)
    try:
        assert outcome_of(CLAIM, "hurts", task, ERRORS[which][0]).kind == "retry"
    finally:
        logger.removeHandler(handler)
