"""Types that arguments can be declared with, and what "the same" means: an oracle of the tests' own."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import uuid
from dataclasses import InitVar, dataclass, field
from typing import (
    Any,
    Generic,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pydantic

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
