"""Records and arguments to bytes and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dueq.core.app.payload import decode_body, encode_body
from dueq.core.errors import DueqError, InvalidTask, PayloadTooLarge
from dueq.core.schema.format import FORMATS
from dueq.core.schema.record import Record, check_id, decode_record, encode_record, new_record
from dueq.core.schema.states import State

RECORD = b"1|S|123|q|1|2|3|w|9|7|w1|"
text = st.text(st.characters(codec="utf-8"))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=10,
)


def test_record() -> None:
    record = decode_record("a", RECORD + b"body|with|bars")
    assert (record.id, record.state, record.due_us, record.queue) == ("a", State.SCHEDULED, 123, "q")
    assert (record.starts, record.retries, record.losses) == (1, 2, 3)
    assert (record.cause, record.since_us, record.token, record.worker) == ("worker_lost", 9, 7, "w1")
    assert record.body == b"body|with|bars"


def test_empty_fields_of_a_record() -> None:
    record = decode_record("a", b"1|S|1|q|0|0|0||||||")
    assert (record.cause, record.since_us, record.token, record.worker, record.body) == ("", 0, 0, "", b"|")


NEW = b"2|S|1796019216376007|q|3600000|1,2,3,w,9|7|w1|later=1;|"


def test_record_of_format_2() -> None:
    record = decode_record("a", NEW + b"body|with|bars")
    assert (record.id, record.state, record.due_us, record.queue) == ("a", State.SCHEDULED, 1796019216376007, "q")
    assert (record.starts, record.retries, record.losses) == (1, 2, 3)
    assert (record.cause, record.since_us, record.token, record.worker) == ("worker_lost", 9, 7, "w1")
    assert (record.scheduled_us, record.tail, record.body) == (1796015616376000, b"later=1;", b"body|with|bars")


def test_a_record_without_history_takes_no_bytes_for_it() -> None:
    written = encode_record(new_record("a", 1796019216376007, "q", b"[]", 1796019216376007))
    assert written == b"2|S|1796019216376007|q|0|||||[]"
    assert decode_record("a", written).scheduled_us == 1796019216376000


numbers = st.integers(0, 2**53)


@given(
    record=st.builds(
        Record,
        id=st.just("a"),
        state=st.sampled_from(State),
        due_us=numbers,
        queue=st.just("q-1"),
        starts=numbers,
        retries=numbers,
        losses=numbers,
        cause=st.sampled_from(["", "retry", "worker_lost", "lease_expired", "snoozed"]),
        since_us=numbers,
        token=numbers,
        worker=st.sampled_from(["", "worker.host.1.a-b_c"]),
        body=st.binary(max_size=20),
        format=st.sampled_from(FORMATS),
        scheduled_us=numbers,
        tail=st.binary(max_size=9).filter(lambda raw: b"|" not in raw),
    )
)
def test_records_come_back_as_they_were(record: Record) -> None:
    if record.format == "1" and record.cause == "snoozed":
        return  # format 1 has no letter for it
    known = record.scheduled_us // 1000 * 1000 if record.format == "2" else 0
    kept = record._replace(
        scheduled_us=min(known, record.due_us // 1000 * 1000), tail=record.tail if record.format == "2" else b""
    )
    assert decode_record("a", encode_record(record._replace(scheduled_us=known))) == kept


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"junk",
        RECORD[:-1],
        b"2" + RECORD[1:],
        RECORD.replace(b"|w|", b"|x|"),
        b"1|S|x" + RECORD[7:],
        NEW[:-1],
        b"1" + NEW[1:],
        NEW.replace(b",w,", b",x,"),
        NEW.replace(b"1,2,3", b"1,2"),
        NEW.replace(b"1,2,3,w,9", b","),
        NEW.replace(b"1,2,3,w,9", b"1" * 200 + b",2,3,w,9"),
        NEW.replace(b"2|S|", b"2|X|"),
        NEW.replace(b"3600000", b"-1"),
    ],
)
def test_unreadable_record(raw: bytes) -> None:
    with pytest.raises(DueqError, match="task a is unreadable"):
        decode_record("a", raw)


@given(args=st.lists(plain, max_size=3), kwargs=st.dictionaries(st.text("abc", min_size=1), plain, max_size=3))
def test_arguments_come_back_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert decode_body(encode_body("task", args, kwargs, 10**9)) == ("task", args, kwargs)


@pytest.mark.parametrize(
    "value", [object(), b"bytes", {1, 2}, float("nan"), float("inf"), "\ud800", {1: 2}, [{"a": [{2: 3}]}]]
)
def test_what_json_would_change_is_refused(value: object) -> None:
    with pytest.raises(InvalidTask):
        encode_body("task", [value], {}, 10**6)
    with pytest.raises(InvalidTask):
        encode_body("task", [], {"key": value}, 10**6)


def test_endless_nesting_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidTask):
        encode_body("task", [loop], {}, 10**6)


def test_the_limit_is_exact_and_in_bytes() -> None:
    size = len(encode_body("t", ["é" * 10], {}, 10**6))
    assert len(encode_body("t", ["é" * 10], {}, size)) == size
    with pytest.raises(PayloadTooLarge, match="max_payload"):
        encode_body("t", ["é" * 10], {}, size - 1)


@pytest.mark.parametrize("task_id", ["a", "!~", "x" * 128, "a|b:c{d}"])
def test_ids(task_id: str) -> None:
    assert check_id(task_id) == task_id


@pytest.mark.parametrize("task_id", ["", " ", "a b", "é", "x" * 129, "a\n", "\x00", 5, None])
def test_no_ids(task_id: Any) -> None:
    with pytest.raises(InvalidTask):
        check_id(task_id)
