"""Values as JSON values. What JSON has, and what is not known here, stays as it is: the payload's check judges it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

from ..arguments import described
from . import members
from .foreign import pydantic_writer, struct_writer
from .shapes import PLAIN, is_class_of_fields, is_dataclass, is_enum, is_named_tuple, is_path, is_pydantic, is_struct
from .texts import TEXTS
from .unfit import Unfit, inside


def written(value: Any) -> Any:
    """``value`` as JSON values, by its class alone. Raises Unfit."""
    kind: Any = type(value)
    return value if kind in PLAIN else _writer(kind)(value)


@functools.lru_cache(maxsize=4096)
def _writer(kind: Any) -> Callable[[Any], Any]:
    if kind in TEXTS:
        return TEXTS[kind].write
    if kind in (list, tuple) or is_named_tuple(kind):
        return _list
    if kind in (set, frozenset):
        return lambda value: sorted(_list(value), key=repr)  # so that equal calls are equal bytes
    if kind is dict:
        return _object
    if is_enum(kind):
        return members.write
    if is_path(kind):
        return str
    if is_pydantic(kind):
        return pydantic_writer(kind)
    if is_struct(kind):
        return struct_writer(written)
    if is_class_of_fields(kind):
        return functools.partial(_fields, tuple(defaults_of(kind)))
    if (base := next((one for one in TEXTS if issubclass(kind, one)), None)) is not None:
        return functools.partial(_refuse_kind_of, base)
    return lambda value: value


def _refuse_kind_of(base: type, value: Any) -> Any:
    raise Unfit(f"is {described(value)}, a subclass that would arrive as a plain {base.__name__}: pass one of those")


def defaults_of(kind: Any) -> dict[str, Any]:
    """The fields that JSON has of a dataclass or an attrs class: those that its ``__init__`` takes. With defaults."""
    fields = dataclasses.fields(kind) if is_dataclass(kind) else getattr(kind, "__attrs_attrs__", ())
    return {field.name: field.default for field in fields if field.init}


def _list(values: Iterable[Any]) -> list[Any]:
    done: list[Any] = []
    try:
        for value in values:
            done.append(written(value))  # its length is the place of an error
    except Exception as error:  # noqa: BLE001  # the application's classes may raise anything
        raise inside(f"[{len(done)}]", error) from None
    return done


def _object(value: dict[Any, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for key, item in value.items():
        try:
            name = _key(key)
            done[name] = written(item)
        except Exception as error:  # noqa: BLE001  # the application's classes may raise anything
            raise inside(f"[{key!r:.40}]", error) from None
    if len(done) < len(value):
        raise Unfit("has two keys that are the same text in JSON")
    return done


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    name = str(key) if type(key) is int else written(key)
    if type(name) is int:  # of an enumeration
        name = str(name)
    if type(name) is not str:
        raise Unfit(f"is under a key of type {type(key).__name__}, and JSON keeps text keys only: pass a list of pairs")
    return name


def _fields(names: tuple[str, ...], value: Any) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for name in names:
        try:
            done[name] = written(getattr(value, name))
        except Exception as error:  # noqa: BLE001  # the application's classes may raise anything
            raise inside(f".{name}", error) from None
    return done
