"""Types that arguments can be declared with, values of each, and what "the same" means: an oracle of the tests' own."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import math
import operator
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
    get_origin,
)
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
from hypothesis import strategies as st

T = TypeVar("T")
Cents = NewType("Cents", int)
Day = NewType("Day", datetime.date)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"
    AZURE = "blue"  # another name of the same


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Word(enum.StrEnum):
    YES = "yes"
    NO = "no"


class Mixed(enum.Enum):
    NONE = None
    HALF = 0.5
    TEXT = "text"


class Planet(enum.Enum):
    """Its values are no JSON values, so the names are carried."""

    EARTH = (5.9, 6.3)
    MARS = (6.4, 3.3)


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    LOW = 1
    HIGH = 8


class Point(NamedTuple):
    x: float
    day: datetime.date
    note: str | None = None


class Movie(TypedDict):
    title: str
    released: datetime.date
    rating: NotRequired[decimal.Decimal]


class PlainMovie(TypedDict, total=False):
    title: str
    year: int


@dataclass
class Money:
    amount: decimal.Decimal
    currency: str = "EUR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    id: uuid.UUID
    lines: tuple[Money, ...] = ()
    tags: frozenset[Word] = frozenset()
    parent: Order | None = None


@dataclass
class Tree:
    """Refers to itself, has what only __init__ takes, and what only it computes."""

    weight: float
    branches: list[Tree] = field(default_factory=list)
    depth: int = field(init=False)
    scale: InitVar[int] = 1

    def __post_init__(self, scale: int) -> None:
        self.depth = scale + max((branch.depth for branch in self.branches), default=0)


@dataclass
class Box(Generic[T]):
    content: T


@attrs.define
class Parcel:
    _weight: decimal.Decimal
    sent: datetime.datetime | None = None
    stamps: set[int] = attrs.field(factory=set)


@attrs.frozen
class Letter:
    sealed: bytes


class Event(msgspec.Struct):
    at: datetime.datetime
    payload: dict[str, int]


class Started(msgspec.Struct, tag=True):
    at: datetime.datetime


class Ended(msgspec.Struct, tag=True):
    at: datetime.datetime


class User(pydantic.BaseModel):
    id: uuid.UUID
    born: datetime.date
    home: pathlib.Path | None = None
    colors: set[Color] = set()


class Strict(pydantic.BaseModel, strict=True):
    until: datetime.date


def zone(seconds: int) -> datetime.timezone:
    return datetime.timezone(datetime.timedelta(seconds=seconds))


finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=8)
instants = st.datetimes(
    timezones=st.just(datetime.UTC)
    | st.integers(-86_399, 86_399).map(zone)
    | st.sampled_from([*map(ZoneInfo, ("Europe/Paris", "America/New_York", "Asia/Kathmandu", "Africa/Monrovia"))])
)
dates = st.dates()
clocks = st.times() | st.times(timezones=st.integers(-86_399, 86_399).map(zone))
decimals = st.decimals(allow_nan=False)
moneys = st.builds(Money, decimals, texts)
orders: st.SearchStrategy[Order] = st.recursive(
    st.builds(
        Order, id=st.uuids(), lines=st.lists(moneys, max_size=2).map(tuple), tags=st.frozensets(st.sampled_from(Word))
    ),
    lambda inner: st.builds(Order, id=st.uuids(), parent=inner),
    max_leaves=3,
)
trees: st.SearchStrategy[Tree] = st.recursive(
    st.builds(Tree, finite | st.integers()),
    lambda inner: st.builds(Tree, finite, st.lists(inner, max_size=2)),
    max_leaves=4,
)
rounded = st.datetimes(timezones=st.integers(-1439, 1439).map(lambda minutes: zone(60 * minutes)))
"""Msgspec and pydantic know no seconds in an offset."""
paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8).map(pathlib.Path)

LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    datetime.datetime: instants,
    datetime.date: dates,
    datetime.time: clocks,
    datetime.timedelta: st.timedeltas(),
    uuid.UUID: st.uuids(),
    decimal.Decimal: decimals,
    bytes: st.binary(max_size=8),
    pathlib.Path: paths,
    pathlib.PureWindowsPath: st.sampled_from([pathlib.PureWindowsPath(one) for one in ("C:/a", r"\\host\share", "b")]),
    **{kind: st.sampled_from(kind) for kind in (Color, Number, Word, Mixed, Planet)},
    Right: st.integers(0, 3).map(Right),
    Bits: st.integers(0, 15).map(Bits),
    Point: st.builds(Point, finite | st.integers(), dates, texts | st.none()),
    Movie: st.fixed_dictionaries({"title": texts, "released": dates}, optional={"rating": decimals}),
    PlainMovie: st.fixed_dictionaries({}, optional={"title": texts, "year": st.integers()}),
    Money: moneys,
    Order: orders,
    Tree: trees,
    Box[datetime.date]: st.builds(Box, dates),
    Box[tuple[int, ...]]: st.builds(Box, st.lists(st.integers()).map(tuple)),
    Parcel: st.builds(Parcel, decimals, instants | st.none(), st.sets(st.integers())),
    Letter: st.builds(Letter, st.binary(max_size=8)),
    Event: st.builds(Event, rounded, st.dictionaries(texts, st.integers(-(2**63), 2**63 - 1), max_size=2)),
    User: st.builds(User, id=st.uuids(), born=dates, home=st.none() | paths, colors=st.sets(st.sampled_from(Color))),
    Strict: st.builds(Strict, until=dates),
    Cents: st.integers(),
    Day: dates,
    Annotated[datetime.date, "of birth"]: dates,
    Literal["now", 1, None]: st.sampled_from(["now", 1, None]),
    Literal[Color.RED, b"raw", "x"]: st.sampled_from([Color.RED, b"raw", "x"]),
    str: texts,
    int: st.integers(),
    float: finite | st.integers(),
    bool: st.booleans(),
    type(None): st.none(),
}
"""Each annotation with the values that it must carry."""

KEYS: tuple[Any, ...] = (
    str,
    int,
    uuid.UUID,
    datetime.date,
    datetime.datetime,
    decimal.Decimal,
    Word,
    Number,
    Color,
    bytes,
)

UNIONS: dict[Any, st.SearchStrategy[Any]] = {
    Optional[datetime.date]: dates | st.none(),  # noqa: UP045  # both ways to write it
    int | datetime.datetime | None: st.integers() | instants | st.none(),
    datetime.date | datetime.datetime: dates | instants,
    datetime.date | datetime.datetime | datetime.time | datetime.timedelta | uuid.UUID | decimal.Decimal: (
        dates | instants | clocks | st.timedeltas() | st.uuids() | decimals
    ),
    int | decimal.Decimal: st.integers() | decimals,
    Literal["now"] | datetime.datetime: st.just("now") | instants,
    Money | Letter: moneys | st.builds(Letter, st.binary(max_size=8)),
    Money | list[datetime.date] | bool: moneys | st.lists(dates, max_size=3) | st.booleans(),
    Started | Ended: st.builds(Started, rounded) | st.builds(Ended, rounded),
    Union[Word, Number]: st.sampled_from([*Word, *Number]),  # noqa: UP007
}


UNHASHABLE = frozenset({Money, Movie, PlainMovie, Tree, Parcel, Event, User, Strict, Point, Order, Started, Ended})


def cases() -> st.SearchStrategy[tuple[Any, Any]]:
    """An annotation, and a value that must arrive where it is declared."""
    leaves = {**LEAVES, **UNIONS}
    declared = st.recursive(st.sampled_from([*leaves]).map(lambda one: (one, leaves[one])), _around, max_leaves=3)
    return declared.flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1]))


Declared = tuple[Any, st.SearchStrategy[Any]]
_KEYS = st.sampled_from(KEYS).map(lambda one: (one, LEAVES[one]))
_MEMBERS = st.sampled_from([one for one in LEAVES if one not in UNHASHABLE and get_origin(one) is not Box]).map(
    lambda one: (one, LEAVES[one])
)


def _around(inner: st.SearchStrategy[Declared]) -> st.SearchStrategy[Declared]:
    """Containers of what is declared as ``inner``."""

    def listed(of: Any, one: Declared) -> Declared:
        return of[one[0]], st.lists(one[1], max_size=3)

    def tupled(one: Declared) -> Declared:
        return tuple.__class_getitem__((one[0], ...)), st.lists(one[1], max_size=3).map(tuple)

    def paired(two: tuple[Declared, Declared]) -> Declared:
        return tuple.__class_getitem__((two[0][0], two[1][0])), st.tuples(two[0][1], two[1][1])

    def keyed(of: Any, two: tuple[Declared, Declared]) -> Declared:
        return of[two[0][0], two[1][0]], st.dictionaries(two[0][1], two[1][1], max_size=3)

    return st.one_of(
        inner.map(functools.partial(listed, list)),
        inner.map(functools.partial(listed, Sequence)),
        inner.map(tupled),
        st.tuples(inner, inner).map(paired),
        _MEMBERS.map(lambda one: (set.__class_getitem__(one[0]), st.sets(one[1], max_size=3))),
        _MEMBERS.map(lambda one: (frozenset.__class_getitem__(one[0]), st.frozensets(one[1], max_size=3))),
        st.tuples(_KEYS, inner).map(functools.partial(keyed, dict)),
        st.tuples(st.just((str, texts)), inner).map(functools.partial(keyed, Mapping)),
        inner.map(lambda one: (operator.getitem(Annotated, (one[0], "described")), one[1])),
    )


def same(given: Any, arrived: Any) -> bool:
    """Whether two values are equal in value and type, at every depth."""
    if type(given) is not type(arrived):
        return False
    match given:
        case list() | tuple():
            return len(given) == len(arrived) and all(map(same, given, arrived))
        case dict():
            return same([*given], [*arrived]) and same([*given.values()], [*arrived.values()])
        case set() | frozenset():
            return len(given) == len(arrived) and all(any(same(one, other) for other in arrived) for one in given)
        case float():
            return bool(given == arrived) and math.copysign(1, given) == math.copysign(1, arrived)
        case decimal.Decimal():
            return str(given) == str(arrived)
        case datetime.datetime():
            return bool(given.isoformat() == arrived.isoformat()) and given.utcoffset() is not None
        case datetime.time():
            return bool(given.isoformat() == arrived.isoformat())
        case enum.Enum():
            return given is arrived
        case _ if dataclasses.is_dataclass(given):
            return all(same(getattr(given, one.name), getattr(arrived, one.name)) for one in dataclasses.fields(given))
        case _ if attrs.has(type(given)):
            return all(same(getattr(given, one), getattr(arrived, one)) for one in attrs.fields_dict(type(given)))
        case msgspec.Struct():
            return all(same(getattr(given, one), getattr(arrived, one)) for one in given.__struct_fields__)
        case pydantic.BaseModel():
            return same(dict(given), dict(arrived))
    return bool(given == arrived)
