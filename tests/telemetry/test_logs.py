"""Log lines: one line each, with what they are about."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from dueq.core.app.context import Context, running
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.telemetry import logs

log = logging.getLogger("dueq.worker")
CONTEXT = Context("cart-42", "shop.remind", "mail", "shop", 7, 1, 0)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    logger = logging.getLogger("dueq")
    kept = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = kept


class Stderr:
    """All that was written to it."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture, self._text = capture, ""

    def getvalue(self) -> str:
        self._text += self._capture.readouterr().err
        return self._text


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str]) -> Stderr:
    return Stderr(capfd)


@pytest.fixture
def in_a_task() -> Iterator[None]:
    token = running.set(CONTEXT)
    yield
    running.reset(token)


def _raised() -> Exception:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        return error


def _lines(stderr: Stderr) -> list[str]:
    text = stderr.getvalue()
    assert text.endswith("\n")
    return text[:-1].split("\n")


@pytest.mark.usefixtures("in_a_task")
def test_text(stderr: Stderr) -> None:
    logs.set_up("text", role="worker", strategy="lua")
    log.info("hello %s", "there")
    [line] = _lines(stderr)
    assert " INFO " in line
    assert line.endswith("dueq.worker: hello there [task_id=cart-42 token=7 queue=mail role=worker strategy=lua]")


@pytest.mark.usefixtures("in_a_task")
def test_json(stderr: Stderr) -> None:
    logs.set_up("json", role="worker", strategy="lua")
    log.warning("hello %s", "there")
    [line] = _lines(stderr)
    found = json.loads(line)
    assert datetime.fromisoformat(found.pop("time")).tzinfo is not None
    assert found.pop("process") > 0
    assert found == {
        "level": "warning",
        "logger": "dueq.worker",
        "message": "hello there",
        "task_id": "cart-42",
        "token": 7,
        "queue": "mail",
        "role": "worker",
        "strategy": "lua",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("message", ["two\nlines", "a\r\nb", "form\x0cfeed", "line\u2028separator", "\n", ""])
def test_whatever_is_logged_is_one_line(stderr: Stderr, log_format: str, message: str) -> None:
    logs.set_up(log_format)
    log.error(message, exc_info=_raised())
    assert len(stderr.getvalue().splitlines()) == 1
    assert "ValueError: two" in stderr.getvalue()
    assert "_raised" in stderr.getvalue(), "with its traceback"


def test_what_the_call_says_outranks_the_task_that_runs(stderr: Stderr, in_a_task: None) -> None:
    """Such as a lease extender's warning about a claim."""
    logs.set_up("json")
    claim = Record("other", State.LEASED, 0, "side", 1, 0, 0, "", 0, 9, "worker-1", b"")
    log.info("x", extra=logs.about(claim))
    [line] = _lines(stderr)
    assert {"task_id": "other", "token": 9, "queue": "side"}.items() <= json.loads(line).items()


def test_outside_of_a_task_a_line_is_about_none(stderr: Stderr) -> None:
    logs.set_up("text", role="supervisor", strategy="")
    log.info("x")
    assert _lines(stderr)[0].endswith("x [role=supervisor]")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_passwords_are_not_shown(stderr: Stderr, log_format: str) -> None:
    logs.set_up(log_format)
    log.error("at %s", "redis://me:secret@host/0", exc_info=ValueError("redis://me:secret@host/0"))
    assert "secret" not in stderr.getvalue()


def test_set_up_again_replaces_what_was(stderr: Stderr) -> None:
    logs.set_up("json")
    logs.set_up("text", role="worker")
    log.info("x")
    assert len(_lines(stderr)) == 1


def test_the_applications_loggers_are_left_alone(stderr: Stderr) -> None:
    before = logging.getLogger().handlers[:]
    logs.set_up("json")
    logging.getLogger("shop").warning("x")
    assert logging.getLogger().handlers == before
    assert "shop" not in stderr.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_steers_a_terminal_or_is_endless(stderr: Stderr, log_format: str) -> None:
    logs.set_up(log_format, role="worker\x1b[2J")
    log.error("a\x1b]0;title\x07b %s", "x" * 1_000_000, exc_info=ValueError("c\x1b[2J\x9bd" + "y" * 1_000_000))
    [line] = _lines(stderr)
    assert line.isprintable()
    assert len(line) < 20_000
    assert "more characters" in line
