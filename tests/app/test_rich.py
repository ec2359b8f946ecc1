"""Arguments are decoded by the annotations of the function: which JSON they are, what is refused, and what it says."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import os
import pathlib
import subprocess
import sys
import threading
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Unpack
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from support.rich_types import (
    Bits,
    Box,
    Color,
    Day,
    Ended,
    Letter,
    Money,
    Movie,
    Number,
    Order,
    Parcel,
    Planet,
    Point,
    Right,
    Started,
    Tree,
    User,
    Word,
    same,
)
from typing_extensions import TypeAliasType

from dueq import Dueq, Task, TaskTimeout
from dueq.core.app.payload import decode_body
from dueq.core.app.rich.shapes import TEXT_TYPES, Kind
from dueq.core.app.rich.texts import TEXTS
from dueq.core.app.rich.unfit import Unfit, inside
from dueq.core.errors import InvalidTask, WrongArguments

if TYPE_CHECKING:
    from nowhere import Hidden  # type: ignore[import-not-found]

T = TypeVar("T")
NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
DATE = datetime.date(2030, 1, 31)
ID = uuid.UUID(int=1)
PARIS = ZoneInfo("Europe/Paris")


def defined(function: Callable[..., Any]) -> Task[..., Any]:
    return Dueq("redis://127.0.0.1:1/0").task(name="task")(function)  # nobody listens there


def takes(annotation: Any) -> Task[..., Any]:
    def function(value: Any) -> Any:
        return value

    function.__annotations__ = {"value": annotation}
    return defined(function)


def body(task: Task[..., Any], *args: Any, **kwargs: Any) -> bytes:
    return task.call_after(1)(*args, **kwargs).body


def run(task: Task[..., Any], written: bytes) -> Any:
    """What the function returns if a worker calls it."""
    _, args, kwargs = decode_body(written)
    return task.entry(*args, **kwargs)


def arrives(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    return run(task, body(task, *args, **kwargs))


# -- which JSON a value is


@dataclass
class Kept(Box[datetime.date]):
    until: datetime.date


@dataclass
class Page(Generic[T]):
    items: list[T]
    made: datetime.date
    next: Optional[Page[T]] = None  # noqa: UP045


class Held(TypedDict, Generic[T]):
    held: list[T]


@dataclass
class Sloppy:
    day: datetime.date = None  # type: ignore[assignment]
    tag: Color = None  # type: ignore[assignment]


class SloppyTuple(NamedTuple):
    day: datetime.date = None  # type: ignore[assignment]


LATER = TypeAliasType("LATER", dict[str, list[datetime.date | int]])

JSON: list[tuple[Any, Any, Any]] = [
    (datetime.datetime, NOON, "2030-01-31T12:00:00+00:00"),
    (datetime.datetime, NOON.astimezone(PARIS), "2030-01-31T13:00:00+01:00"),
    (datetime.date, DATE, "2030-01-31"),
    (datetime.time, datetime.time(9, 30), "09:30:00"),
    (datetime.timedelta, datetime.timedelta(days=1, hours=2, seconds=1.5), "P1DT2H1.5S"),
    (datetime.timedelta, -datetime.timedelta(minutes=5), "-PT5M"),
    (datetime.timedelta, datetime.timedelta(0), "PT0S"),
    (uuid.UUID, ID, "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal, decimal.Decimal("19.90"), "19.90"),
    (decimal.Decimal, decimal.Decimal("-Infinity"), "-Infinity"),
    (bytes, b"\xff\x00", "/wA="),
    (pathlib.Path, pathlib.Path("/a/b"), "/a/b"),
    (Color, Color.RED, "red"),
    (Number, Number.TWO, 2),
    (Planet, Planet.MARS, "MARS"),
    (Right, Right.READ | Right.WRITE, 3),
    (Bits, Bits(12), 12),
    (tuple[int, str], (1, "a"), [1, "a"]),
    (tuple, (1, "a"), [1, "a"]),
    (tuple[()], (), []),
    (set[int], {1}, [1]),
    (frozenset[tuple[int, ...]], frozenset({(1, 2)}), [[1, 2]]),
    (dict[int, datetime.date], {1: DATE}, {"1": "2030-01-31"}),
    (dict[Number, str], {Number.ONE: "a"}, {"1": "a"}),
    (dict[uuid.UUID, int], {ID: 1}, {str(ID): 1}),
    (Mapping[str, set[int]], {"a": {1}}, {"a": [1]}),
    (Iterable[datetime.date], [DATE], ["2030-01-31"]),
    (Point, Point(1, DATE), [1, "2030-01-31", None]),
    (Movie, {"title": "M", "released": DATE}, {"title": "M", "released": "2030-01-31"}),
    (Money, Money(decimal.Decimal("1.0")), {"amount": "1.0", "currency": "EUR"}),
    (Tree, Tree(1, [Tree(2.5)]), {"weight": 1, "branches": [{"weight": 2.5, "branches": []}]}),
    (Box[datetime.date], Box(DATE), {"content": "2030-01-31"}),
    (Box, Box([1]), {"content": [1]}),
    (Parcel, Parcel(decimal.Decimal(1)), {"_weight": "1", "sent": None, "stamps": []}),
    (Started | Ended, Ended(NOON), {"type": "Ended", "at": "2030-01-31T12:00:00Z"}),
    (User, User(id=ID, born=DATE), {"id": str(ID), "born": "2030-01-31", "home": None, "colors": []}),
    (
        list[User | None],
        [None, User(id=ID, born=DATE)],
        [None, {"id": str(ID), "born": "2030-01-31", "home": None, "colors": []}],
    ),
    (Day, DATE, "2030-01-31"),
    (Kept, Kept(DATE, DATE), {"content": "2030-01-31", "until": "2030-01-31"}),
    (Page[datetime.date], Page([DATE], DATE), {"items": ["2030-01-31"], "made": "2030-01-31", "next": None}),
    (Held[datetime.date], {"held": [DATE]}, {"held": ["2030-01-31"]}),
    (frozenset[str], frozenset({"b", "c", "a"}), ["a", "b", "c"]),
    (LATER, {"a": [DATE, 1]}, {"a": ["2030-01-31", 1]}),
    (Sloppy, Sloppy(), {"day": None, "tag": None}),
    (SloppyTuple, SloppyTuple(), [None]),
]


@pytest.mark.parametrize(("annotation", "value", "in_json"), JSON)
def test_json(annotation: Any, value: Any, in_json: Any) -> None:
    task = takes(annotation)
    assert json.loads(body(task, value)) == ["task", [in_json]]
    assert same(value, arrives(task, value))
    task.check_json([in_json], {})


@pytest.mark.parametrize(
    ("annotation", "in_json", "value"),
    [
        (datetime.datetime, "2030-01-31 12:00Z", NOON),
        (datetime.timedelta, 90, datetime.timedelta(seconds=90)),
        (datetime.timedelta, 0.5, datetime.timedelta(seconds=0.5)),
        (datetime.timedelta, "P1W", datetime.timedelta(7)),
        (decimal.Decimal, 19, decimal.Decimal(19)),
        (uuid.UUID, str(ID).upper(), ID),
        (Point, [1, "2030-01-31"], Point(1, DATE)),
        (Money, {"amount": "1"}, Money(decimal.Decimal(1))),
        (set[int], [1, 1], {1}),
    ],
)
def test_other_json_is_read_too(annotation: Any, in_json: Any, value: Any) -> None:
    assert run(takes(annotation), json.dumps(["task", [in_json]]).encode()) == value


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (datetime.datetime, ["2030-01-31T12:00:00", "2030-01-31", "20300131T120000Z", 19, None]),
        (datetime.date, ["2030-01-31T00:00Z", "20300131", "2030-W01-1", "2030-02-31", "٢٠٣٠-01-31"]),
        (datetime.time, ["25:00", "9:30", 9]),
        (datetime.timedelta, ["P", "PT", "P1Y", "P1M", "1D", "", "P999999999999D", 1e300, True]),
        (uuid.UUID, ["{00000000-0000-0000-0000-000000000001}", "0" * 32, "x"]),
        (decimal.Decimal, [1.5, "NaN", "1_0", "", " 1", True]),
        (bytes, ["a", "é", "YQ", [97]]),
        (pathlib.Path, [1, None]),
        (Color, ["RED", "green", None, []]),
        (Planet, ["VENUS", [5.9, 6.3], 1]),
        (tuple[int, str], ["ab", [1], [1, "a", 2], {"0": 1}]),
        (tuple[str, ...], ["abc", {"a": 1}]),
        (set[int], ["abc", {}, [[]]]),
        (dict[int, int], [[], {"01": 1}, {"a": 1}, {"1.0": 1}]),
        (Money, [[], "amount", {}, {"amount": "1", "x": 2}, {"amount": None}]),
        (Movie, [{"title": "M"}, {"title": "M", "released": "2030-01-31", "x": 1}, []]),
        (Point, [[1], [1, "2030-01-31", None, 4], {"x": 1}]),
        (User, [{}, [], {"id": 1, "born": 2}]),
        (Started | Ended, [{"at": "2030-01-31T12:00:00Z"}, {"type": "Other"}, 1]),
        (int | datetime.date, ["x", [], None]),
    ],
)
def test_json_that_does_not_fit(annotation: Any, values: list[Any]) -> None:
    task = takes(annotation)
    for value in values:
        with pytest.raises(InvalidTask, match=r"^value"):
            task.check_json([value], {})
        with pytest.raises(WrongArguments, match=r"task was made for function\(value\), got \("):
            run(task, json.dumps(["task", [value]]).encode())


# -- what is refused at the call


class Narrow(datetime.datetime): ...


class Texts(list[str]): ...


@dataclass
class Derived(Money): ...


@dataclass
class Careless:
    """What is assigned to it later is not among its fields."""

    day: datetime.date


@dataclass
class Changing:
    """It is not made of its fields as they are."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        self.names = (*self.names, "one more")


class Slotted:
    __slots__ = ("secret",)


@dataclass(slots=True)
class Secretive(Slotted):
    day: datetime.date


class Labelled(NamedTuple):
    day: datetime.date


class Loose(pydantic.BaseModel, extra="allow"):
    day: datetime.date


class Local(pydantic.BaseModel):
    at: datetime.datetime


class Roomy(msgspec.Struct, dict=True):
    day: datetime.date


def roomy() -> Roomy:
    one = Roomy(DATE)
    one.more = 1  # type: ignore[attr-defined]
    return one


class Lossy(msgspec.Struct):
    at: datetime.datetime


def careless() -> Careless:
    one = Careless(DATE)
    one.more = 1  # type: ignore[attr-defined]
    return one


def secretive() -> Secretive:
    one = Secretive(DATE)
    one.secret = 1  # type: ignore[attr-defined]
    return one


REFUSED: list[tuple[Any, Any, str]] = [
    (
        datetime.datetime,
        datetime.datetime(2030, 1, 1),
        "value is a datetime without a time zone, which names no instant",
    ),
    (datetime.datetime, DATE, "value is a date, which is not a time with its offset"),
    (
        datetime.datetime,
        Narrow(2030, 1, 1, tzinfo=datetime.UTC),
        "a Narrow, a subclass that would arrive as a plain",
    ),
    (datetime.date, NOON, "value is a datetime, which is not a date"),
    (datetime.date, "2030-01-31", "value is a str, but would arrive as a date"),
    (datetime.time, datetime.time(1, tzinfo=PARIS), "only together with a date"),
    (datetime.timedelta, 5, "value is an int, but would arrive as a timedelta"),
    (decimal.Decimal, decimal.Decimal("NaN"), "value is NaN"),
    (decimal.Decimal, 1, "value is an int, but would arrive as a Decimal"),
    (pathlib.PurePath, pathlib.Path("a"), "would arrive as a PurePosixPath"),
    (pathlib.Path, pathlib.Path("a\udc80"), "surrogate"),
    (Color, "red", "would arrive as a member of the enumeration Color"),
    (Number, 1, "would arrive as a member of the enumeration Number"),
    (Word, Number.ONE, "value is a member of the enumeration Number, which is no member of Word"),
    (int, Number.ONE, "value is a member of the enumeration Number, which would arrive as its value"),
    (tuple[int, ...], [1], "value is a list, but would arrive as a tuple"),
    (tuple[int, ...], Point(1, DATE), r"value is the named tuple Point, but would arrive as a tuple"),
    (list[datetime.date], (DATE,), "value is a tuple, but would arrive as a list"),
    (list[datetime.date], [DATE, "x"], r"value\[1\] is not a date"),
    (
        list[datetime.date],
        Texts(["2030-01-31"]),
        "value is a Texts, a kind of list, which would arrive as a plain list",
    ),
    (set[datetime.date], frozenset({DATE}), "value is a frozenset, but would arrive as a set"),
    (tuple[tuple[Any, ...], ...], (((1,),),), r"value\[0\]\[0\] is a tuple, but would arrive as a list"),
    (dict[str, datetime.date], {1: DATE}, r"value \(a key\) is an int, but would arrive as a str"),
    (dict[int, datetime.date], {1: DATE, "1": DATE}, "two keys that are the same text"),
    (dict[int, datetime.date], {True: DATE}, "a key of type bool"),
    (dict[str, datetime.date], {(1,): DATE}, "a key of type tuple"),
    (dict[str, datetime.date], collections.OrderedDict(a=DATE), "OrderedDict, a kind of dict"),
    (dict[str, datetime.date], collections.defaultdict(list), "defaultdict, a kind of dict"),
    (Money, Derived(decimal.Decimal(1)), "value is a Derived, but would arrive as a Money"),
    (Money, {"amount": "1"}, "value is a dict, but would arrive as a Money"),
    (
        Money,
        Money(decimal.Decimal(1), Word.YES),
        r"value\.currency is a member of the enumeration Word, but would arrive as a str",
    ),
    (Money, Money(decimal.Decimal(1), float("inf")), r"value\['currency'\] is inf"),  # type: ignore[arg-type]
    (Money, Money(None), r"value\.amount is not a decimal"),  # type: ignore[arg-type]
    (Careless, careless(), "has the attribute more only before it arrives"),
    (Secretive, secretive(), "has the attribute secret only before it arrives"),
    (Changing, Changing(()), r"value\.names is \('one more',\), but would arrive as \('one more', 'one more'\)"),
    (Tree, Tree(1, scale=7), r"value\.depth is 7, but would arrive as 1"),
    (Movie, {"title": "M"}, "lacks the field 'released'"),
    (Movie, {"title": "M", "released": DATE, "x": 1}, "has the field 'x'"),
    (Loose, Loose(day=DATE, more=DATE), r"value\['more'\] is a date, but would arrive as a str"),  # type: ignore[call-arg]
    (Local, Local(at=datetime.datetime(2030, 1, 1)), "datetime without a time zone"),
    (Roomy, roomy(), r"value\['more'\]|value"),
    (Lossy, Lossy(datetime.datetime(1900, 1, 1, tzinfo=PARIS)), r"value\.at is datetime"),  # 9 minutes and 21 seconds
    (Any, DATE, "value is a date, which JSON does not have: pass .isoformat.*, or declare the parameter with its type"),
    (Any, Money(decimal.Decimal(1)), "asdict.*, or declare the parameter with its type"),
    (object, (1,), "a tuple, which would arrive as a list"),
]


@pytest.mark.parametrize(("annotation", "value", "says"), REFUSED)
def test_what_would_change_is_refused(annotation: Any, value: Any, says: str) -> None:
    with pytest.raises(InvalidTask, match=says):
        body(takes(annotation), value)
    with pytest.raises(InvalidTask, match=r"value\["):
        body(takes(list[annotation] if annotation is not Any else list[Any]), [value])


def test_what_is_nested_too_deep_is_refused() -> None:
    tree = Tree(1)
    for _ in range(200):
        tree = Tree(1, [tree])
    with pytest.raises(InvalidTask, match="levels deep"):
        body(takes(Tree), tree)
    itself = Tree(1)
    itself.branches.append(itself)
    with pytest.raises(InvalidTask, match="nested too deep"):
        body(takes(Tree), itself)


def test_what_the_body_may_take() -> None:
    with pytest.raises(InvalidTask, match="65,536 allowed"):
        body(takes(bytes), bytes(60_000))


# -- unions


@pytest.mark.parametrize(
    ("annotation", "good", "refused"),
    [
        (str | uuid.UUID, ["x", str(ID)], {ID: "value is a UUID, but would arrive as a str"}),
        (str | pathlib.Path, ["x"], {pathlib.Path("x"): "would arrive as a str"}),
        (str | Color, ["red"], {Color.RED: "would arrive as a str"}),
        (list | tuple, [[1]], {(1,): "would arrive as a list"}),
        (list[datetime.date] | list[int], [[1], ["2030-01-31"]], {}),
        (set[int] | frozenset[int], [], {frozenset({1}): r"set\[int\] and frozenset\[int\] are each a list in JSON"}),
        (bytes | uuid.UUID, [], {b"a": "bytes and UUID are each text in JSON", ID: "cannot be told apart"}),
        (datetime.date | datetime.datetime | None, [DATE, NOON, None], {"2030-01-31": "would arrive as a date"}),
        (Literal["red", 1] | datetime.date, ["red", 1, DATE], {"blue": "is not a date", True: "which no member"}),
        (Literal[Color.RED] | bytes, [Color.RED], {b"\xad\xe7": r"."}),
        (Word | Number, [Word.YES, Number.ONE], {"yes": "would arrive as a member", 2: "would arrive as a member"}),
        (Money | Letter, [Money(decimal.Decimal(1)), Letter(b"a")], {}),
        (Money | dict[str, Any], [{"amount": "1"}], {}),
        (Optional[Order], [None, Order(id=ID)], {}),  # noqa: UP045
        (Order | datetime.date | None, [None, Order(id=ID), DATE], {}),
        (int | decimal.Decimal, [1, decimal.Decimal(1)], {"1": "would arrive as a Decimal"}),
        (bool | datetime.date, [True, DATE], {1: "is a number in JSON, which no member of its union is"}),
        (float | None | tuple[int, ...], [1, 1.5, None, (1,)], {}),
    ],
)
def test_unions(annotation: Any, good: list[Any], refused: dict[Any, str]) -> None:
    task = takes(annotation)
    for value in good:
        assert same(value, arrives(task, value))
    for value, says in refused.items():
        if says != ".":
            with pytest.raises(InvalidTask, match=says):
                body(task, value)


def test_classes_that_no_field_tells_apart_are_refused() -> None:
    @dataclass
    class One:
        x: int

    @dataclass
    class Other:
        x: int

    with pytest.raises(InvalidTask, match="are each an object in JSON, so declare one of them"):
        body(takes(One | Other), One(1))
    with pytest.raises(InvalidTask, match="would arrive as a dict"):
        body(takes(Money | dict[str, Any]), Money(decimal.Decimal(1)))


# -- the parameters of a function


class Options(TypedDict, total=False):
    until: datetime.date
    loud: bool


def everything(
    a: datetime.date, /, b: int, *c: datetime.date, d: datetime.date | None = None, e: str = "", **f: uuid.UUID
) -> Any:
    return a, b, c, d, e, f


def unpacked(a: int, **options: Unpack[Options]) -> Any:
    return a, options


def test_every_kind_of_parameter() -> None:
    task = defined(everything)
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    for args, kwargs in (
        ((DATE, 1), {}),
        ((DATE, 1, DATE, DATE), {}),
        ((DATE,), {"b": 1, "d": DATE, "e": "2030-01-31"}),
        ((DATE, 1), {"e": "x", "g": ID, "a": ID}),
    ):
        defaults = {"d": None, "e": ""} | kwargs
        rest = {name: one for name, one in kwargs.items() if name not in ("b", "d", "e")}
        got = arrives(task, *args, **kwargs)
        assert got == (DATE, 1, args[2:], defaults["d"], defaults["e"], rest)
    for args, kwargs, says in (
        ((DATE, 1, DATE, 5), {}, r"c\[1\] is an int, which is not a date"),
        ((DATE, 1), {"g": "x"}, "g is a str, which is not a UUID"),
        ((DATE, 1), {"a": DATE}, "a is a date, which is not a UUID"),
        ((DATE, ID), {}, "b is a UUID, which JSON does not have"),
    ):
        with pytest.raises(InvalidTask, match=says):
            body(task, *args, **kwargs)
    task = defined(unpacked)
    assert arrives(task, 1, until=DATE, loud=True) == (1, {"until": DATE, "loud": True})
    with pytest.raises(InvalidTask, match="loud is a date"):
        body(task, 1, loud=DATE)


def sloppy(  # as is often written
    day: datetime.date = None,  # type: ignore[assignment]  # noqa: RUF013
    *rest: *tuple[int, str],
    more: tuple[int, ...] = None,  # type: ignore[assignment]  # noqa: RUF013
) -> Any:
    return day, rest, more


def test_none_where_it_is_the_default() -> None:
    task = defined(sloppy)
    assert arrives(task, None, 1, "x", more=None) == (None, (1, "x"), None)
    assert arrives(task, DATE, more=(1,)) == (DATE, (), (1,))
    with pytest.raises(InvalidTask, match="day is a NoneType, which is not a date"):
        body(defined(plain), None)


class Callables:
    def method(self, day: datetime.date) -> Any:
        return day

    @staticmethod
    def static(day: datetime.date) -> Any:
        return day

    def __call__(self, day: datetime.date) -> Any:
        return day


def plain(day: datetime.date, note: str = "") -> Any:
    return day


def passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def adds(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(DATE, *args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        Callables().method,
        Callables.static,
        functools.partial(plain, note="x"),
        functools.cache(plain),
        passes_on(plain),
        passes_on(functools.cache(passes_on(plain))),
    ],
)
def test_every_kind_of_function(function: Callable[..., Any]) -> None:
    task = defined(function)
    assert arrives(task, DATE) == DATE
    assert arrives(task, day=DATE) == DATE


def test_a_callable_object() -> None:
    task = Dueq("redis://127.0.0.1:1/0").task(name="task")(Callables())
    assert arrives(task, DATE) == DATE


def test_what_a_decorator_adds_is_not_among_the_arguments() -> None:
    def function(day: datetime.date, user: int) -> Any:
        return day, user

    task = defined(adds(function))
    assert arrives(task, 7) == (DATE, 7), "the call does not fit the function that is wrapped, so its types say nothing"


def test_a_handler() -> None:
    app = Dueq("redis://127.0.0.1:1/0")

    @app.handler
    def handle(data: Money) -> Any:
        return data

    with pytest.raises(InvalidTask, match="data is a dict, but would arrive as a Money"):
        app.schedule_task(0, {"amount": "1"})
    assert arrives(handle, Money(decimal.Decimal(1))) == Money(decimal.Decimal(1))


# -- annotations that say nothing to dueq


class Unknown: ...


@dataclass
class Broken:
    hidden: Hidden


ODD: list[Any] = [
    Unknown,
    list[Unknown],
    dict[str, Unknown],
    Unknown | int,
    "Hidden",
    "list[Hidden]",
    "1/0",
    "not a type",
    5,
    "text",
    ...,
    print,
    [],
    Callable[[int], str],
    type[int],
    typing.TypeVar("T"),
    typing.Self,
    typing.IO[str],
    os.PathLike[str],
    collections.OrderedDict[str, datetime.date],
    collections.deque[datetime.date],
    dict[int | str, int],
    dict[float, int],
    dict[tuple[int, int], int],
    "dict[str, Odd] | list[Odd] | int",
    Iterable[int],
    list[int],
    typing.List[int],  # noqa: UP006
    dict[str, list[float]],
    Literal["a", 1],
    typing.Annotated[int, []],
]


@pytest.mark.parametrize("annotation", ODD, ids=repr)
def test_plain_values_arrive_whatever_is_declared(annotation: Any) -> None:
    task = takes(annotation)
    for value in (1, "x", None, [1, [2.5]], {"a": {"b": [True]}}):
        assert same(value, arrives(task, value))
    assert task.conversion is None


def test_names_that_cannot_be_resolved() -> None:
    def function(a: Hidden, b: datetime.date) -> Any:
        return a, b

    task = defined(function)
    assert arrives(task, {"any": 1}, DATE) == ({"any": 1}, DATE)
    with pytest.raises(
        InvalidTask, match=r"a is a date.*name 'Hidden' is not defined.*must be known in the function's module"
    ):
        body(task, DATE, DATE)
    for value in ({"hidden": 1}, Broken(1)):
        with pytest.raises(
            InvalidTask, match=r"value.* has a type that dueq cannot use.*'Hidden' is not defined.*TYPE_CHECK"
        ):
            body(takes(Broken), value)


def test_a_name_that_is_defined_later() -> None:
    namespace: dict[str, Any] = {"__name__": "later", "Dueq": Dueq, "defined": defined}
    exec("def function(value: 'Later'): return value\ntask = defined(function)", namespace)
    exec("import enum\nclass Later(enum.Enum):\n  A = 'a'", namespace)
    assert arrives(namespace["task"], namespace["Later"].A) is namespace["Later"].A


# -- what it costs, and what is left alone


def test_plain_tasks_import_nothing_for_it() -> None:
    program = """
import sys
from dueq import Dueq
app = Dueq("redis://127.0.0.1:1/0")
@app.task(name="a")
def a(x: int, y: "list[str] | None" = None): ...
assert "dueq.core.app.rich.shapes" not in sys.modules
a.call_after(1)(1, ["x"])
print(sorted({"cattrs", "attrs", "msgspec", "pydantic", "dueq.core.app.rich.reading"} & sys.modules.keys()))
@app.task(name="b")
def b(x: "tuple[int, ...]"): ...
b.call_after(1)((1,))
print(sorted({"msgspec", "pydantic"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_readers_are_put_together_once() -> None:
    task = takes(Money)
    assert task.conversion is task.conversion
    first = task.conversion
    body(task, Money(decimal.Decimal(1)))
    assert task.conversion is first


def test_from_several_threads() -> None:
    @dataclass
    class Node:
        day: datetime.date
        more: list[Node] = field(default_factory=list)

    Node.__annotations__["more"] = list[Node]
    found: list[Any] = []
    together = threading.Barrier(8)

    def call() -> None:
        together.wait()
        found.append(arrives(takes(list[Node]), [Node(DATE)]))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[Node(DATE)]] * 8


def test_an_instant_keeps_its_offset_and_not_the_name_of_its_zone() -> None:
    second = datetime.datetime(2030, 10, 27, 2, 30, fold=1, tzinfo=PARIS)
    for given in (NOON.astimezone(PARIS), second, second.replace(fold=0)):
        got = arrives(takes(datetime.datetime), given)
        assert (got.astimezone(datetime.UTC), got.utcoffset()) == (given.astimezone(datetime.UTC), given.utcoffset())
        assert type(got.tzinfo) is datetime.timezone
        for annotation, holder in ((set[datetime.datetime], {given}), (dict[datetime.datetime, int], {given: 1})):
            assert same([*holder], [*arrives(takes(annotation), holder)])


def test_what_an_object_only_remembers_does_not_count() -> None:
    @attrs.frozen(cache_hash=True)
    class Key:
        day: datetime.date

    @dataclass
    class Lazy:
        day: datetime.date

        @functools.cached_property
        def year(self) -> int:
            return self.day.year

    @dataclasses.dataclass(eq=False)
    class ById:
        day: datetime.date

    key, lazy = Key(DATE), Lazy(DATE)
    assert hash(key)
    assert lazy.year == 2030
    assert arrives(takes(Key), key) == key
    assert arrives(takes(Lazy), lazy) == lazy
    assert arrives(takes(ById), ById(DATE)).day == DATE


def test_each_object_is_made_once_to_see_what_arrives() -> None:
    made: list[datetime.date] = []

    @dataclass
    class Noted:
        day: datetime.date

        def __post_init__(self) -> None:
            made.append(self.day)

    given = Noted(DATE)
    body(takes(Noted), given)
    assert made == [DATE, DATE]


def test_errors_of_the_application_name_the_argument() -> None:
    @dataclass
    class Picky:
        day: datetime.date

        def __post_init__(self) -> None:
            if self.day.year < 2000:
                raise ValueError("too old")

    old = Picky(DATE)
    old.day = datetime.date(1999, 1, 1)
    with pytest.raises(InvalidTask, match=r"value\[0\] is refused \(ValueError: too old\)"):
        body(takes(list[Picky]), [old])
    with pytest.raises(WrongArguments, match="too old"):
        run(takes(Picky), b'["task",[{"day":"1999-01-01"}]]')


def test_a_soft_timeout_goes_through() -> None:
    @dataclass
    class Slow:
        day: datetime.date

        def __post_init__(self) -> None:
            raise TaskTimeout("late")

    for annotation, value in ((Slow, {"day": "2030-01-31"}), (tuple[Slow, ...], [{"day": "2030-01-31"}])):
        with pytest.raises(TaskTimeout):
            run(takes(annotation), json.dumps(["task", [value]]).encode())
    with pytest.raises(TaskTimeout):
        inside("[0]", TaskTimeout())
    assert inside("[0]", Unfit("x", ".y")).path == "[0].y"


def test_the_lists_of_types_agree() -> None:
    assert set(TEXT_TYPES) == set(TEXTS)
    assert len(Kind) == 6
    assert issubclass(Color, enum.Enum)
