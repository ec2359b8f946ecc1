"""Unions: which member a JSON value is meant for, by its kind alone, so that no value decides it by chance.

A member that arrives as JSON has it takes all values of its kinds. What is then left without a way back (the UUID of
``str | UUID``) is refused at the call, since it would not arrive as it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from cattrs import Converter
from cattrs.disambiguators import create_default_dis_func

from . import members
from .shapes import (
    ALL_KINDS,
    Kind,
    bare,
    converts,
    is_class_of_fields,
    is_enum,
    is_named_tuple,
    is_path,
    is_pydantic,
    is_struct,
    kind_of,
    parts,
    shown,
)
from .texts import DISJOINT, TEXTS
from .unfit import Unfit

Read = Callable[[Any], Any]
ReaderOf = Callable[[Any], Read]


@dataclass(frozen=True, slots=True)
class _Member:
    annotation: Any
    base: Any
    kinds: frozenset[Kind]
    values: tuple[Any, ...] | None
    """The JSON values that it has, if they are few."""

    @property
    def is_plain(self) -> bool:
        """Whether it takes any value of its kinds, as JSON has it."""
        return self.values is None and not converts(self.annotation)


def union_reader(annotation: Any, reader_of: ReaderOf, converter: Converter) -> Read:
    """Reads the values of a union; ``reader_of`` makes the readers of its members."""
    _, arguments = parts(annotation)
    own = [_member(bare(one)) for one in arguments]
    others = [one for one in own if one.base is not type(None)]
    if len(others) == 1:
        only = reader_of(others[0].annotation)
        return lambda value: None if value is None else only(value)
    by_kind = {kind: _of_kind(kind, own, reader_of, converter) for kind in Kind}
    return lambda value: by_kind[kind_of(value)](value)


def _member(annotation: Any) -> _Member:
    base, arguments = parts(annotation)
    values: tuple[Any, ...] | None = None
    if base is Literal:
        values = tuple(members.write(one) if is_enum(type(one)) else one for one in arguments)
    elif is_enum(base):
        values = tuple(members.all_of(base)) or None
    return _Member(annotation, base, _kinds(base, values), values)


def _kinds(base: Any, values: tuple[Any, ...] | None) -> frozenset[Kind]:
    if values is not None:
        return frozenset(Kind.TEXT if type(value) is bytes else kind_of(value) for value in values)
    known: dict[Any, Kind] = {
        type(None): Kind.NULL,
        bool: Kind.BOOL,
        int: Kind.NUMBER,
        float: Kind.NUMBER,
        str: Kind.TEXT,
        dict: Kind.OBJECT,
        **dict.fromkeys((list, tuple, set, frozenset), Kind.LIST),
        **dict.fromkeys(TEXTS, Kind.TEXT),
    }
    if isinstance(base, type) and base in known:
        return frozenset({known[base]})
    if is_enum(base):  # a Flag
        return frozenset({Kind.NUMBER})
    if is_path(base):
        return frozenset({Kind.TEXT})
    if is_named_tuple(base) or (is_struct(base) and base.__struct_config__.array_like):
        return frozenset({Kind.LIST})
    if is_class_of_fields(base) or is_struct(base) or is_pydantic(base):
        return frozenset({Kind.OBJECT})
    return ALL_KINDS


def _of_kind(kind: Kind, own: Sequence[_Member], reader_of: ReaderOf, converter: Converter) -> Read:
    """Reads the JSON values of one kind."""
    fit = [one for one in own if kind in one.kinds]
    if any(one.is_plain for one in fit):
        return lambda value: value
    table: dict[tuple[type, Any], Read] = {}
    for one in fit:
        if one.values is not None:
            table |= {
                (type(value), value): reader_of(one.annotation) for value in one.values if type(value) is not bytes
            }
    rest = _of_rest(kind, [one for one in fit if one.values is None], reader_of, converter)
    if not table:
        return rest

    def read(value: Any) -> Any:
        return table.get((type(value), value), rest)(value)

    return read


def _of_rest(kind: Kind, fit: Sequence[_Member], reader_of: ReaderOf, converter: Converter) -> Read:
    if not fit:
        return _refusing(f"is {kind.value} in JSON, which no member of its union is")
    if len(fit) == 1:
        return reader_of(fit[0].annotation)
    if all(one.base in DISJOINT for one in fit):
        return _first_of([reader_of(one.annotation) for one in fit])
    if all(is_struct(one.base) for one in fit) or all(is_pydantic(one.base) for one in fit):
        return reader_of(Union[tuple(one.annotation for one in fit)])  # noqa: UP007  # a union of variables
    if all(is_class_of_fields(one.base) and not _is_dict(one.base) for one in fit):
        return _of_classes(fit, reader_of, converter)
    return _ambiguous(kind, fit)


def _is_dict(base: Any) -> bool:
    return isinstance(base, type) and issubclass(base, dict)


def _of_classes(fit: Sequence[_Member], reader_of: ReaderOf, converter: Converter) -> Read:
    """Reads objects of dataclasses and attrs classes, told apart by a field that only one requires."""
    readers = {one.annotation: reader_of(one.annotation) for one in fit}
    try:
        choose = create_default_dis_func(converter, *readers)
    except TypeError:
        return _ambiguous(Kind.OBJECT, fit)

    def read(value: Any) -> Any:
        try:
            chosen: Any = choose(value)
        except (ValueError, LookupError):
            raise Unfit("has the fields of no class of its union") from None
        return readers[chosen](value)

    return read


def _first_of(readers: Sequence[Read]) -> Read:
    """Reads with the one that can."""

    def read(value: Any) -> Any:
        for one in readers:
            try:
                return one(value)
            except Unfit:
                pass
        raise Unfit("has the form of no member of its union")

    return read


def _ambiguous(kind: Kind, fit: Sequence[_Member]) -> Read:
    names = " and ".join(shown(one.annotation) for one in fit)
    return _refusing(f"cannot be told apart: {names} are each {kind.value} in JSON, so declare one of them")


def _refusing(reason: str) -> Read:
    def read(value: Any) -> Any:
        raise Unfit(reason)

    return read
