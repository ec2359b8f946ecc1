"""Arguments arrive as they were given, in value and type, or the call raises an error that says what to pass."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import math
import pathlib
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dueq import Dueq, DueqError
from dueq.core.app.arguments import MOST_LEVELS
from dueq.core.app.payload import decode_body, encode_body
from dueq.core.errors import InvalidTask

app = Dueq("redis://127.0.0.1:1/0")  # nobody listens there: what is refused is refused before anything is sent


@app.task(name="remind")
def remind(user: Any, text: Any = None, *, loud: Any = False) -> None: ...


@app.task(name="anything")
def anything(*args: Any, **kwargs: Any) -> None: ...


@app.task(name="needs")
def needs(user: int, /, *, loud: bool) -> None: ...


def wrapped_with_more(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("a connection", *args, **kwargs)

    return wrapper


@app.task(name="wrapped")
@wrapped_with_more
def wrapped(connection: str, user: int) -> None: ...


# -- what the function takes


@pytest.mark.parametrize("wrong", [1, None, "remind", remind, remind.call_after(1), (remind, 1)])
def test_many_are_calls(wrong: Any) -> None:
    with pytest.raises(InvalidTask, match=r"call_after\(60\)\(42\)"):
        app.schedule_many([remind.call_after(1)(1), wrong])


@pytest.mark.parametrize("options", [{"replicas": "1"}, {"replicas": True}, {"replicas": 1, "replicas_within": "1"}])
def test_options_of_many(options: dict[str, Any]) -> None:
    with pytest.raises(DueqError, match="replicas"):
        app.schedule_many([], **options)


@pytest.mark.parametrize(
    ("args", "kwargs", "what"),
    [
        ((), {}, "user"),
        ((1, 2, 3), {}, "too many"),
        ((1,), {"user": 2}, "user"),
        ((1,), {"txt": 2}, "txt"),
        ((), {"text": 2}, "user"),
        ((1, 2, True), {"loud": 1}, "too many"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> None:
    ways: list[Callable[..., object]] = [remind.after(1), remind.at(5), remind.call_after(1), remind.call_at(5)]
    for way in ways:
        with pytest.raises(InvalidTask, match=what) as caught:
            way(*args, **kwargs)
        assert "remind(user: 'Any', text: 'Any' = None, *, loud: 'Any' = False)" in str(caught.value)


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [
        (remind, (1,), {}),
        (remind, (1, 2), {}),
        (remind, (1,), {"loud": True}),
        (remind, (), {"user": 1, "text": 2}),
        (anything, (), {}),
        (anything, (1, 2, 3), {"a": 1}),
        (needs, (1,), {"loud": True}),
        (wrapped, (1,), {}),  # what is called is its wrapper, which adds one
    ],
)
def test_a_call_that_fits(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert decode_body(task.call_after(1)(*args, **kwargs).body) == (task.name, list(args), kwargs)


def test_what_must_be_named() -> None:
    for args in ((), (1,), (1, True)):
        with pytest.raises(InvalidTask, match="needs"):
            needs.call_after(1)(*args)  # type: ignore[call-arg]


# -- what arrives as it was given


class Color(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    YES = "yes"


class Flag(enum.IntFlag):
    UP = 1


class Point(NamedTuple):
    x: int


class Text(str): ...


class Whole(int): ...


class Real(float): ...


class Items(list[int]): ...


@dataclasses.dataclass
class Data:
    x: int


class Rows:
    """Like a one-dimensional array."""

    dtype = int

    def item(self) -> int:
        return 1


WOULD_CHANGE: dict[str, tuple[Any, str]] = {
    "tuple": ((1, 2), r"list\("),
    "empty tuple": ((), r"list\("),
    "named tuple": (Point(1), "_asdict"),
    "enumeration": (Color.RED, r"\.value"),
    "IntEnum": (Number.ONE, r"\.value"),
    "StrEnum": (Word.YES, r"\.value"),
    "IntFlag": (Flag.UP, r"\.value"),
    "str subclass": (Text("a"), r"str\("),
    "int subclass": (Whole(1), r"int\("),
    "float subclass": (Real(1), r"float\("),
    "list subclass": (Items([1]), r"list\("),
    "OrderedDict": (collections.OrderedDict(a=1), r"dict\("),
    "Counter": (collections.Counter("a"), r"dict\("),
    "defaultdict": (collections.defaultdict(list), r"dict\("),
    "int keys": ({1: 2}, r"str\("),
    "None as key": ({None: 2}, r"str\("),
    "bool as key": ({True: 2}, r"str\("),
    "tuple as key": ({(1,): 2}, "pairs"),
    "StrEnum as key": ({Word.YES: 2}, r"\.value"),
    "str subclass as key": ({Text("a"): 2}, r"str\("),
    "nan": (math.nan, "None"),
    "infinity": (math.inf, "None"),
    "minus infinity": (-math.inf, "None"),
    "a number too long": (10**4300, "hex"),
    "a negative one": (-(10**4300), "hex"),
    "surrogate": ("a\ud800", "surrogate"),
    "surrogate in a key": ({"\udc80": 1}, "surrogate|JSON"),
    "set": ({1}, "sorted"),
    "frozenset": (frozenset({1}), "sorted"),
    "bytes": (b"a", "hex"),
    "bytearray": (bytearray(b"a"), "hex"),
    "datetime": (datetime.datetime.now(datetime.UTC), "isoformat"),
    "date": (datetime.date(2030, 1, 1), "isoformat"),
    "timedelta": (datetime.timedelta(1), "total_seconds"),
    "UUID": (uuid.uuid4(), r"str\("),
    "Decimal": (decimal.Decimal("1.1"), r"str\("),
    "Path": (pathlib.Path("a"), r"str\("),
    "dataclass": (Data(1), "asdict"),
    "array": (Rows(), r"item\(\)"),
    "complex": (1j, "plain values"),
    "object": (object(), "plain values"),
    "function": (print, "plain values"),
    "generator": ((x for x in "a"), "plain values"),
}


@pytest.mark.parametrize("what", WOULD_CHANGE)
def test_what_would_change_is_refused_by_name(what: str) -> None:
    value, advice = WOULD_CHANGE[what]
    for given_as, path in (
        (value, "user"),
        ([0, value], r"user\[1\]"),
        ({"a": [{"b": value}]}, r"user\['a'\]\[0\]\['b'\]"),
    ):
        with pytest.raises(InvalidTask, match=path) as caught:
            remind.after(1)(given_as)
        assert caught.match(advice)
        with pytest.raises(InvalidTask, match=path):
            remind.after(1)(user=given_as)
        with pytest.raises(InvalidTask, match=path.replace("user", "task_data")):
            app.schedule_task(0, given_as)
    with pytest.raises(InvalidTask, match="argument 2"):
        anything.after(1)(1, value)


@pytest.mark.parametrize("levels", [MOST_LEVELS + 1, 500, 100_000])
def test_what_is_nested_too_deep_is_refused(levels: int) -> None:
    """Also where Python's own limit is far off, or as good as reached."""
    deep: Any = 1
    for level in range(levels):
        deep = [deep] if level % 2 else {"a": deep}
    with pytest.raises(InvalidTask, match=f"user.*more than {MOST_LEVELS} levels deep"):
        remind.after(1)(deep)
    while isinstance(deep, (list, dict)):  # freed level by level
        deep = deep[0] if isinstance(deep, list) else deep["a"]


def test_what_is_nested_just_so_arrives() -> None:
    deep: Any = 1
    for _ in range(MOST_LEVELS):
        deep = [deep]
    assert decode_body(remind.call_after(1)(deep).body)[1] == [deep]


def _same(given_one: Any, arrived: Any) -> bool:
    if type(given_one) is not type(arrived):
        return False
    if isinstance(given_one, list):
        return len(given_one) == len(arrived) and all(map(_same, given_one, arrived))
    if isinstance(given_one, dict):
        return list(given_one) == list(arrived) and all(map(_same, given_one.values(), arrived.values()))
    if isinstance(given_one, float):
        return given_one == arrived and math.copysign(1, given_one) == math.copysign(1, arrived)
    return bool(given_one == arrived)


anything_at_all = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.uuids()
    | st.datetimes()
    | st.sampled_from([*Number, *Word, *Flag, *Color, Text("a"), Whole(1), Real(-0.0), -0.0, 2**63, 10**4299, 5e-324]),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.builds(Point, inner)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.sampled_from([*Word]), inner)
        | st.builds(Items)
        | st.builds(collections.OrderedDict)
    ),
    max_leaves=8,
)


@given(args=st.lists(anything_at_all, max_size=3), kwargs=st.dictionaries(st.text("abc", min_size=1), anything_at_all))
def test_whatever_arrives_is_the_same(args: list[Any], kwargs: dict[str, Any]) -> None:
    try:
        body = encode_body("task", args, kwargs, 10**9)
    except InvalidTask:
        return
    _, got_args, got_kwargs = decode_body(body)
    assert _same(args, got_args)
    assert _same(kwargs, got_kwargs)
