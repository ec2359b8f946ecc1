"""The annotations of a task's function, as far as JSON values must be converted to be what they say.

This module imports nothing that a task without such annotations does not need.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..definition import globals_of, layers
from .shapes import converts, or_none


@dataclass(frozen=True, slots=True)
class Declared:
    """What a function says of its arguments."""

    signature: inspect.Signature = field(default_factory=inspect.Signature)
    is_wrapped: bool = False
    """The signature is that of a function that was decorated: it counts only for calls that fit it."""
    types: Mapping[str, Any] = field(default_factory=dict)
    """The annotations of parameters to convert, by name."""
    unresolved: Mapping[str, str] = field(default_factory=dict)
    """Why an annotation could not be resolved, by the name of its parameter."""


def declared(function: Callable[..., Any]) -> Declared:
    """The annotations of ``function``; or, beneath decorators that pass on any arguments, of what it wraps."""
    inner = _annotated(function)
    try:
        signature = inspect.signature(inner, follow_wrapped=False)
    except (ValueError, TypeError):  # some functions written in C have none
        return Declared()
    names = _names(inner)
    found: dict[str, Any] = {}
    unresolved: dict[str, str] = {}
    for name, parameter in signature.parameters.items():
        if parameter.annotation is parameter.empty:
            continue
        try:
            annotation = _resolved(parameter.annotation, names)
            if _is_unpacked(annotation):
                annotated = _fields(annotation) if parameter.kind is parameter.VAR_KEYWORD else {}
            else:
                annotated = {name: annotation}
            for key, one in annotated.items():
                if converts(one):
                    found[key] = or_none(one, parameter.default)
        except Exception as error:  # noqa: BLE001  # annotations are code of the application
            unresolved[name] = f"{type(error).__name__}: {error}"
    return Declared(signature, inner is not function, found, unresolved)


def _annotated(function: Any) -> Any:
    """``function``; or what it wraps, for as long as the wrapper says nothing of its arguments."""
    for _ in range(100):
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is None or not _takes_anything(function):
            break
        function = wrapped
    return function


def _takes_anything(function: Any) -> bool:
    try:
        parameters = [*inspect.signature(function, follow_wrapped=False).parameters.values()]
    except (ValueError, TypeError):
        return True
    return [one.kind for one in parameters] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]


def _names(function: Any) -> dict[str, Any]:
    """The names that the annotations of ``function`` can use."""
    inner = layers(function)[-1]
    if isinstance(inner, type):
        inner = vars(inner).get("__init__", inner)
    return {**globals_of(inner, getattr(inner, "__module__", None))}


def _resolved(annotation: Any, names: dict[str, Any]) -> Any:
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, names)["it"]


def _is_unpacked(annotation: Any) -> bool:
    """Whether it is ``Unpack[…]``, or ``*tuple[…]``: then it is not about one argument."""
    return typing.get_origin(annotation) is typing.Unpack or getattr(annotation, "__unpacked__", False) is True


def _fields(annotation: Any) -> dict[str, Any]:
    """The fields of the TypedDict that ``**kwargs: Unpack[…]`` names."""
    return typing.get_type_hints(typing.get_args(annotation)[0])
