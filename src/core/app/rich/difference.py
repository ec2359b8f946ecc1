"""Whether what arrives equals what was given, in value and type, at every depth."""

from __future__ import annotations

import datetime
import decimal
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .shapes import is_class_of_fields, is_enum, is_named_tuple, is_pydantic, is_struct
from .unfit import Unfit


class Difference(NamedTuple):
    """The first difference, at ``path``."""

    path: str
    given: Any
    arrived: Any


_Compare = Callable[[Any, Any, str], Difference | None]
_NOTHING = object()
_EXTRA = "__pydantic_extra__"
_NO_VALUE = frozenset({"__pydantic_fields_set__", "_attrs_cached_hash"})
"""State of an object that its value does not depend on."""


def difference(given: Any, arrived: Any, path: str = "") -> Difference | None:
    """The first difference between two values; None if they are equal. Raises Unfit for what cannot be compared."""
    if type(given) is not type(arrived):
        return Difference(path, given, arrived)
    kind: Any = type(given)
    compare: _Compare = _comparer(kind)
    return compare(given, arrived, path)


@functools.lru_cache(maxsize=4096)
def _comparer(kind: Any) -> _Compare:
    if (known := _COMPARERS.get(kind)) is not None:
        return known
    if is_enum(kind):
        return _leaf(lambda given, arrived: given is arrived)
    if is_named_tuple(kind):
        return lambda given, arrived, path: _items(given, arrived, path) or _states(given, arrived, path)
    if is_struct(kind):
        return _structs
    if is_pydantic(kind) or is_class_of_fields(kind):
        return _states
    return _leaf(lambda given, arrived: bool(given == arrived))


def _leaf(is_same: Callable[[Any, Any], bool]) -> _Compare:
    return lambda given, arrived, path: None if is_same(given, arrived) else Difference(path, given, arrived)


def _items(given: Sequence[Any], arrived: Sequence[Any], path: str) -> Difference | None:
    if len(given) != len(arrived):
        return Difference(path, given, arrived)
    for position, (one, other) in enumerate(zip(given, arrived, strict=True)):
        if found := difference(one, other, f"{path}[{position}]"):
            return found
    return None


def _dicts(given: dict[Any, Any], arrived: dict[Any, Any], path: str) -> Difference | None:
    if found := _items([*given], [*arrived], ""):  # the order, too
        return Difference(f"{path} (a key)", found.given, found.arrived)
    for (key, value), other in zip(given.items(), arrived.values(), strict=True):
        if found := difference(value, other, f"{path}[{key!r:.40}]"):
            return found
    return None


def _sets(given: frozenset[Any], arrived: frozenset[Any], path: str) -> Difference | None:
    if len(given) != len(arrived):
        return Difference(path, given, arrived)
    equal = {value: value for value in arrived}
    for value in given:
        if (other := equal.get(value, _NOTHING)) is not _NOTHING:
            if found := difference(value, other, f"{path} (a member)"):
                return found
        # Python says of some equal instants that they are not: in the hour when clocks change
        elif all(difference(value, one) for one in arrived):
            return Difference(path, given, arrived)
    return None


def _states(given: Any, arrived: Any, path: str) -> Difference | None:
    before, after = _state(given), _state(arrived)
    for name in before | after:
        one, other = before.get(name, _NOTHING), after.get(name, _NOTHING)
        where = path if name == _EXTRA else f"{path}.{name}"
        if one is _NOTHING or other is _NOTHING:
            raise Unfit(f"has the attribute {name} only {'after' if one is _NOTHING else 'before'} it arrives", path)
        if found := difference(one, other, where):
            return found
    return None


def _state(value: Any) -> dict[str, Any]:
    """The attributes of ``value``, those in slots too; not what it has only remembered."""
    state = object.__getstate__(value)  # a class's own __getstate__ may leave something out
    plain, slots = state if isinstance(state, tuple) else (state, None)
    kind = type(value)
    return {
        name: one
        for name, one in {**(plain or {}), **(slots or {})}.items()
        if name not in _NO_VALUE and not isinstance(getattr(kind, name, None), functools.cached_property)
    }


def _structs(given: Any, arrived: Any, path: str) -> Difference | None:
    for name in given.__struct_fields__:
        if found := difference(getattr(given, name), getattr(arrived, name), f"{path}.{name}"):
            return found
    return difference(getattr(given, "__dict__", None), getattr(arrived, "__dict__", None), path)


def _instants(given: datetime.datetime, arrived: datetime.datetime, path: str) -> Difference | None:
    if arrived.tzinfo is None:  # of a pydantic model: dueq's own writer refuses it
        raise Unfit("is a datetime without a time zone, which names no instant: pass an aware one", path)
    # the same time on the clock, with the same offset: the zone's name does not count
    return None if given.isoformat() == arrived.isoformat() else Difference(path, given, arrived)


def _same_time(given: datetime.time, arrived: datetime.time) -> bool:
    # whether a time is the second one of its kind on a day (fold) counts as little as it does for ==
    return given.isoformat() == arrived.isoformat() and (given.tzinfo is None) == (arrived.tzinfo is None)


_COMPARERS: dict[type, _Compare] = {
    list: _items,
    tuple: _items,
    dict: _dicts,
    set: _sets,
    frozenset: _sets,
    float: _leaf(lambda given, arrived: given == arrived and math.copysign(1, given) == math.copysign(1, arrived)),
    decimal.Decimal: _leaf(lambda given, arrived: not given.is_nan() and given.as_tuple() == arrived.as_tuple()),
    datetime.datetime: _instants,
    datetime.time: _leaf(_same_time),
}
