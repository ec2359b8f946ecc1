"""Enumerations: their members as JSON, by value where all values are plain, else by name."""

from __future__ import annotations

import enum
import functools
from typing import Any

from .shapes import PLAIN


@functools.lru_cache(maxsize=1024)
def by_value(kind: Any) -> bool:
    """Whether JSON carries the values of the members, not their names."""
    return issubclass(kind, enum.Flag) or all(type(member._value_) in PLAIN for member in _members(kind))


def write(member: Any) -> Any:
    """The JSON value of a member."""
    kind: Any = type(member)
    return member._value_ if by_value(kind) else member._name_


def read(kind: Any, value: Any) -> Any:
    """The member that has this JSON value. Raises ValueError or LookupError."""
    return kind(value) if by_value(kind) else kind[value]


def all_of(kind: Any) -> list[Any]:
    """The JSON values of the members; none of a Flag, whose members combine."""
    return [] if issubclass(kind, enum.Flag) else [write(member) for member in _members(kind)]


def _members(kind: Any) -> list[Any]:
    return [*kind.__members__.values()]
