"""Values of each type that arguments can be declared with: annotations, and what must arrive where they stand."""

from __future__ import annotations

import datetime
import decimal
import functools
import operator
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Optional, Union, get_origin
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from support.rich_types import (
    Bits,
    Box,
    Cents,
    Color,
    Day,
    Ended,
    Event,
    Letter,
    Mixed,
    Money,
    Movie,
    Number,
    Order,
    Parcel,
    PlainMovie,
    Planet,
    Point,
    Right,
    Started,
    Strict,
    Tree,
    User,
    Word,
)


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
