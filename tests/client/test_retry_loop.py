"""What a loop does when Redis fails it: it logs one line, and waits longer and longer while the error is the same."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import ConnectionError, NoPermissionError, OutOfMemoryError

from dueq.core.client.retry_loop import RetryLoop

log = logging.getLogger("dueq.test_retry_loop")
REFUSED = NoPermissionError("this user has no permissions to run the 'blpop' command")


class Observed:
    refuses = False
    turns = 0

    def turn(self, sleeps: float = 0.0) -> None:
        self.turns += 1

    def refused(self, loop: object, refuses: bool) -> None:
        self.refuses = refuses


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def loop(observed: Observed) -> RetryLoop:
    return RetryLoop(log, observed)


def fail(loop: RetryLoop, part: str, error: Exception) -> float:
    """A turn that fails in ``part``, after a step that went well if that is the sleep; the pause after it."""
    with loop.turn("step"):
        if part != "step":
            loop.then(part)
        raise error
    return loop.pause


def go(loop: RetryLoop, *parts: str) -> None:
    """A turn in which all goes well."""
    with loop.turn(parts[0]):
        for part in parts[1:]:
            loop.then(part)
    assert loop.pause == 0


def _warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_same_refusal_again_and_again_is_one_line(
    loop: RetryLoop, observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = []
    for _ in range(8):
        pauses.append(fail(loop, "sleep", REFUSED))
        assert observed.refuses
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert len(_warnings(caplog)) == 1
    go(loop, "step", "sleep")
    assert not observed.refuses
    assert fail(loop, "sleep", REFUSED) == 0.05
    assert len(_warnings(caplog)) == 2
    assert observed.turns == 10, "each turn is a sign of life"


def test_a_sleep_after_a_refusal_is_short(loop: RetryLoop) -> None:
    """How else would it turn out soon that it is allowed again?"""
    assert loop.allowed(30.0) == 30.0
    fail(loop, "sleep", REFUSED)
    assert loop.allowed(30.0) == 1.0
    assert loop.allowed(0.1) == 0.1
    go(loop, "step", "sleep")
    assert loop.allowed(30.0) == 30.0


def test_what_is_refused_in_turn_is_a_line_each(loop: RetryLoop, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        fail(loop, "sleep", REFUSED)
        fail(loop, "step", OutOfMemoryError("full"))
    assert len(_warnings(caplog)) == 2


def test_lines_of_one_trouble_have_an_end(loop: RetryLoop, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(100):
        fail(loop, "step", NoPermissionError(str(number)))
    assert len(_warnings(caplog)) == 8


def test_redis_being_away_ends_with_the_first_that_goes_well(
    loop: RetryLoop, observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert fail(loop, "step", ConnectionError("timed out")) == 0.05
    assert fail(loop, "step", ConnectionError("refused")) == 0.1
    assert not observed.refuses
    assert fail(loop, "sleep", ConnectionError("refused")) == 0.05, "the step went well"
    assert [record.getMessage()[:13] for record in caplog.records] == [
        "Redis trouble",
        "Redis is back",
        "Redis trouble",
    ]


def test_what_was_refused_once_and_goes_well_is_over(loop: RetryLoop, observed: Observed) -> None:
    fail(loop, "step", OutOfMemoryError("full"))
    go(loop, "step")
    assert not observed.refuses


def test_a_turn_that_settles_nothing_ends_no_trouble(loop: RetryLoop) -> None:
    """Such as a step of an audit that always fails at a later one."""
    for pause in (0.05, 0.1, 0.2):
        with loop.turn(settles=False):
            pass
        assert loop.pause == 0
        with loop.turn(settles=False):
            raise REFUSED
        assert (loop.pause, loop.error) == (pause, REFUSED)
    loop.passed()
    with loop.turn(settles=False):
        raise REFUSED
    assert loop.pause == 0.05


def test_what_is_not_redis_ends_the_loop(loop: RetryLoop) -> None:
    with pytest.raises(ZeroDivisionError), loop.turn("step"):
        raise ZeroDivisionError
    assert loop.pause == 0
