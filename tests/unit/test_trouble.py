"""What a loop does when Redis fails it: one line, and pauses that grow as long as the same is refused."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import ConnectionError, NoPermissionError, OutOfMemoryError

from dueq.core.client.trouble import Trouble

log = logging.getLogger("dueq.test_trouble")
REFUSED = NoPermissionError("this user has no permissions to run the 'blpop' command")


class Observed:
    refuses = False

    def refused(self, loop: object, refuses: bool) -> None:
        self.refuses = refuses


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def trouble(observed: Observed) -> Trouble:
    return Trouble(log, observed)


def test_the_same_refusal_again_and_again_is_one_line(
    trouble: Trouble, observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = []
    for _ in range(8):
        assert not trouble.passed("step")
        pauses.append(trouble.suffered(REFUSED, "sleep"))
        assert observed.refuses
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert len(caplog.records) == 1
    assert trouble.passed("sleep")
    assert not observed.refuses
    assert trouble.suffered(REFUSED, "sleep") == 0.05
    assert len(caplog.records) == 2


def test_a_sleep_after_a_refusal_is_short(trouble: Trouble) -> None:
    """How else would it turn out soon that it is allowed again?"""
    assert trouble.sleep(30.0) == 30.0
    trouble.suffered(REFUSED, "sleep")
    assert trouble.sleep(30.0) == 1.0
    assert trouble.sleep(0.1) == 0.1
    trouble.passed("sleep")
    assert trouble.sleep(30.0) == 30.0


def test_what_is_refused_in_turn_is_a_line_each(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        trouble.suffered(REFUSED, "sleep")
        trouble.suffered(OutOfMemoryError("full"), "step")
    assert len(caplog.records) == 2


def test_lines_of_one_trouble_have_an_end(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(100):
        trouble.suffered(NoPermissionError(str(number)), "step")
    assert len(caplog.records) == 8


def test_redis_being_away_ends_with_the_first_that_goes_well(
    trouble: Trouble, observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.suffered(ConnectionError("refused"), "sleep")
    trouble.suffered(ConnectionError("timed out"), "step")
    assert len(caplog.records) == 1
    assert not observed.refuses
    assert trouble.passed("step")
    assert trouble.suffered(ConnectionError("refused"), "sleep") == 0.05
    assert len(caplog.records) == 2


def test_what_was_refused_once_and_goes_well_is_over(trouble: Trouble, observed: Observed) -> None:
    trouble.suffered(OutOfMemoryError("full"), "step")
    assert trouble.passed("step")
    assert not observed.refuses
