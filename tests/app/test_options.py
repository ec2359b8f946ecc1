"""``expires`` and ``headers``: what a call may say besides its arguments and its time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dueq import Dueq
from dueq.core.app.options import written
from dueq.core.app.task import Task
from dueq.core.errors import ConfigurationError, DueqError, InvalidTask, NaiveDatetime
from dueq.core.schema.tail import MOST_HEADER_BYTES, expires_us, headers, settled_tail

US = 1_000_000
NOW = 1_796_000_000 * US


def task(**options: Any) -> Task[[int], None]:
    def remind(user: int) -> None: ...

    defined: Task[[int], None] = Dueq("redis://127.0.0.1:1").task(name="remind", **options)(remind)
    return defined


@pytest.mark.parametrize(
    ("expires", "until"),
    [
        (60, NOW + 60 * US),
        (0.5, NOW + US // 2),
        (timedelta(minutes=1), NOW + 60 * US),
        (datetime(2030, 1, 1, tzinfo=UTC), int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * US),
        (None, 0),
    ],
)
def test_until_when_it_may_start(expires: Any, until: int) -> None:
    assert expires_us(settled_tail(written(expires, None), NOW)) == until


@pytest.mark.parametrize("expires", [0, -1, True, "soon", float("nan"), float("inf"), 1e30, timedelta(0), [], object()])
def test_what_is_no_such_time_is_refused(expires: Any) -> None:
    with pytest.raises(InvalidTask, match="write expires=60"):
        task().after(0, expires=expires)
    with pytest.raises(ConfigurationError, match="write expires=60"):
        task(expires=expires)


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(NaiveDatetime):
        task().call_after(0, expires=datetime(2030, 1, 1))


def test_a_task_names_no_date() -> None:
    with pytest.raises(ConfigurationError, match="a call may name a date"):
        task(expires=datetime(2030, 1, 1, tzinfo=UTC))


def test_a_call_has_its_own_or_the_tasks() -> None:
    of_task = task(expires=timedelta(seconds=5))
    assert of_task.call_after(0)(1).tail == b"x=+5000000;"
    assert of_task.call_at(time.time(), expires=7)(1).tail == b"x=+7000000;"
    assert task().call_after(0)(1).tail == b""


@pytest.mark.parametrize(
    "given",
    [{"a": "b"}, {"": ""}, {"a|b;c=d": "x=1;|h={}"}, {'"': "\\\n\x00\u2028\U0001f600"}, {"traceparent": "00-ab-cd-01"}],
)
@pytest.mark.parametrize("expires", [None, 60])
def test_headers_come_back_as_they_were(given: dict[str, str], expires: float | None) -> None:
    raw = settled_tail(written(expires, given), NOW)
    assert headers(raw) == given
    assert expires_us(raw) == (0 if expires is None else NOW + 60 * US)
    assert b"|" not in raw
    assert raw.isascii()


@pytest.mark.parametrize("given", [{"a": 1}, {1: "a"}, {"a": None}, {"a": b"x"}, ["a"], "a", {"a": {"b": "c"}}])
def test_what_are_no_headers_is_refused(given: Any) -> None:
    with pytest.raises(InvalidTask, match="header"):
        task().after(0, headers=given)


def test_headers_are_a_kibibyte_at_most() -> None:
    fits = {"a": "x" * (MOST_HEADER_BYTES - len('{"a":""}'))}
    assert headers(task().call_after(0, headers=fits)(1).tail) == fits
    with pytest.raises(InvalidTask, match="1,025 bytes as JSON, more than the 1,024"):
        task().call_after(0, headers={"a": fits["a"] + "x"})


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"x=;", b"x=-1;", b"x=12", b"h={;", b'h=["a"];', b'h={"a":1};', b"\xff=\xff;", b"later=x=5;"]
)
def test_a_damaged_tail_says_nothing(raw: bytes) -> None:
    assert (expires_us(raw), dict(headers(raw))) == (0, {})


def test_an_error_comes_before_anything_is_sent() -> None:
    with pytest.raises(DueqError) as raised:
        task().after(0, headers={"a": 1})  # type: ignore[dict-item]
    assert isinstance(raised.value, InvalidTask)
