"""What an annotation says about JSON: whether its values need conversion, and which kinds of classes there are."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import typing
import uuid
from typing import Annotated, Any, Final, Literal, NewType, NotRequired, Required, Union, get_args, get_origin

TEXT_TYPES = (
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    uuid.UUID,
    decimal.Decimal,
    bytes,
)
"""Types that JSON carries as text, besides paths."""

PLAIN = frozenset({str, int, float, bool, type(None)})
_WRAPPERS = (Required, NotRequired, Final)
_BUILTIN: dict[Any, Any] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
"""What arrives where only an interface is declared."""


class Kind(enum.Enum):
    """What a JSON value is."""

    NULL = "null"
    BOOL = "a boolean"
    NUMBER = "a number"
    TEXT = "text"
    LIST = "a list"
    OBJECT = "an object"


ALL_KINDS = frozenset(Kind)
_KIND_OF = {
    type(None): Kind.NULL,
    bool: Kind.BOOL,
    int: Kind.NUMBER,
    float: Kind.NUMBER,
    str: Kind.TEXT,
    list: Kind.LIST,
    dict: Kind.OBJECT,
}


def kind_of(value: Any) -> Kind:
    """The kind of a value that JSON was read into."""
    return _KIND_OF[type(value)]


def bare(annotation: Any) -> Any:
    """``annotation`` without what only names or describes it: aliases, NewType, Annotated, Required, Final."""
    for _ in range(100):  # an alias may be of itself
        origin = get_origin(annotation)
        if origin is Annotated or origin in _WRAPPERS:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):  # type X = …
            annotation = annotation.__value__
        elif hasattr(origin, "__value__"):  # X[int], of type X[T] = …
            annotation = origin.__value__[get_args(annotation)]
        else:
            break
    return type(None) if annotation is None else annotation


def parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The class that a bare annotation is about, or Union or Literal, and its arguments."""
    origin = get_origin(annotation)
    if isinstance(annotation, types.UnionType):
        origin = Union
    base = annotation if origin is None else origin
    if isinstance(base, collections.abc.Hashable):
        base = _BUILTIN.get(base, base)
    return base, get_args(annotation)


def is_class_of_fields(base: Any) -> bool:
    """Whether it is a dataclass, an attrs class or a TypedDict: JSON has its fields as an object."""
    if is_pydantic(base):
        return False
    return typing.is_typeddict(base) or is_dataclass(base) or (isinstance(base, type) and _has(base, "__attrs_attrs__"))


def is_dataclass(base: Any) -> bool:
    return isinstance(base, type) and dataclasses.is_dataclass(base)


def is_pydantic(base: Any) -> bool:
    """Whether pydantic (2) knows how to read and write it: a model, or a dataclass of pydantic's."""
    return isinstance(base, type) and _has(base, "__pydantic_core_schema__") and _has(base, "__pydantic_validator__")


def is_struct(base: Any) -> bool:
    """Whether it is a Struct of msgspec."""
    return isinstance(base, type) and _has(base, "__struct_config__")


def is_named_tuple(base: Any) -> bool:
    return isinstance(base, type) and issubclass(base, tuple) and hasattr(base, "_fields")


def is_path(base: Any) -> bool:
    return isinstance(base, type) and issubclass(base, pathlib.PurePath)


def is_enum(base: Any) -> bool:
    return isinstance(base, enum.EnumMeta)


def _has(base: type, name: str) -> bool:
    return any(name in vars(one) for one in base.__mro__)


def converts(annotation: Any, inside: tuple[Any, ...] = ()) -> bool:
    """Whether JSON values must be converted to be what ``annotation`` says; if not, they arrive as they are.

    Classes that nobody here knows are not converted: only plain values can be passed for them.
    """
    annotation = bare(annotation)
    if annotation in inside:
        return False  # the rest of it decides
    base, arguments = parts(annotation)
    inside = (*inside, annotation)
    if base is Literal:
        return any(type(value) not in PLAIN for value in arguments)
    if base is list or base is Union:
        return any(converts(one, inside) for one in arguments)
    if base is dict:
        return bool(arguments) and (converts(arguments[1], inside) or converts_keys(arguments[0]))
    if typing.is_typeddict(base):
        return any(converts(one, inside) for one in (*fields_of(base).values(), *arguments))
    return (
        base in (tuple, set, frozenset, *TEXT_TYPES)
        or is_path(base)
        or is_enum(base)
        or is_named_tuple(base)
        or is_class_of_fields(base)
        or is_pydantic(base)
        or is_struct(base)
    )


def converts_keys(annotation: Any) -> bool:
    """Whether the keys of a dict are no text in Python, but can be written as text."""
    base, _ = parts(bare(annotation))
    return base is int or base in TEXT_TYPES or is_path(base) or is_enum(base)


def or_none(annotation: Any, default: Any) -> Any:
    """``annotation``; or, if the ``default`` is None, that too: many write ``day: date = None``."""
    return annotation if default is not None else Union[annotation, None]  # noqa: UP007  # it may be no class


def fields_of(base: Any) -> dict[str, Any]:
    """The annotations of a TypedDict or a NamedTuple; none if one cannot be resolved."""
    try:
        return typing.get_type_hints(base)
    except Exception:  # noqa: BLE001  # annotations are code of the application
        return {}


def shown(annotation: Any) -> str:
    """The annotation as one writes it, nearly."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__qualname__
    return str(annotation).replace("typing.", "").replace("datetime.", "")
