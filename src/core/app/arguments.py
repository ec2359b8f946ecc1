"""What a task may be given: only what its function takes, and only values that arrive as they were given.

Whatever JSON would carry as something else (a tuple as a list, an enumeration as its value) is refused at the call, by
an error that names the argument and says what to pass instead.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import math
import pathlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import InvalidTask

MOST_LEVELS = 100
"""The deepest nesting of lists and dicts: JSON that is nested far deeper can be written but not read."""

MOST_DIGITS = 4300
"""Digits of a whole number: Python reads no longer ones."""

_TOO_LARGE = 10**MOST_DIGITS
_PLAIN = frozenset({str, int, float, bool, type(None)})
_DECLARABLE = frozenset(
    {
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
        *(uuid.UUID, decimal.Decimal, bytes, tuple, set, frozenset),
    }
)
_KINDS = (str, int, float, list, dict, tuple)


class Signature:
    """What the function of a task takes."""

    def __init__(self, task: str, function: Callable[..., Any]) -> None:
        self._task = task
        try:
            # the signature of the wrapper itself, not of what it wraps: it may add arguments of its own
            self._signature = inspect.signature(function, follow_wrapped=False)
        except (ValueError, TypeError):  # some functions written in C have none
            self._signature = inspect.Signature(
                [
                    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
                ]
            )
        parameters = self._signature.parameters.values()
        positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        self._names = [one.name for one in positional]
        needed = any(one.kind is one.KEYWORD_ONLY and one.default is one.empty for one in parameters)
        self._least = sum(one.default is one.empty for one in positional)
        self._most = math.inf if any(one.kind is one.VAR_POSITIONAL for one in parameters) else len(positional)
        if needed:
            self._least, self._most = 1, 0  # no call without names fits

    def __str__(self) -> str:
        return f"{self._task}{self._signature}"

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises InvalidTask if the function cannot be called so."""
        if not kwargs and self._least <= len(args) <= self._most:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidTask(f"{error}: the task is {self}") from None

    def name(self, position: int) -> str:
        """What the positional argument at ``position`` is called."""
        return self._names[position] if position < len(self._names) else f"argument {position + 1}"


def are_plain(values: Iterable[Any], levels: int = MOST_LEVELS) -> bool:
    """Whether JSON carries ``values`` unchanged, judged by their types only: fast, since every call needs it."""
    for value in values:
        kind = type(value)
        if kind in _PLAIN:
            continue
        if levels == 0:
            return False
        if kind is list:
            if not are_plain(value, levels - 1):
                return False
        elif kind is dict:
            for key in value:
                if type(key) is not str:
                    return False
            if not are_plain(value.values(), levels - 1):
                return False
        else:
            return False
    return True


def complaint(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], name: Callable[[int], str]
) -> InvalidTask | None:
    """What is wrong with the arguments of a call; ``name`` returns the name of a positional argument."""
    named = [(name(position), value) for position, value in enumerate(args)]
    for label, value in [*named, *kwargs.items()]:
        for found in _wrong(label, value, MOST_LEVELS):
            return InvalidTask(f"{found} (a task's arguments are JSON; the task is {task})")
    return None


def _wrong(label: str, value: Any, levels: int) -> Iterator[str]:
    """What is wrong with ``value``, which is called ``label``, and with what is in it."""
    kind = type(value)
    if kind in (list, dict) and levels == 0:
        yield f"{label[:80]}… is nested more than {MOST_LEVELS} levels deep: pass a flat list, or an id of what it is"
    elif kind is list:
        for position, item in enumerate(value):
            yield from _wrong(f"{label}[{position}]", item, levels - 1)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                yield (
                    f"{label} has the key {_shown(key)}, which is {described(key)}: JSON keeps text keys only, so "
                    f"write str(…) or .value for each key, or pass a list of pairs"
                )
            elif not _is_text(key):
                yield f"{label} has the key {_shown(key)}, with half a character (a surrogate), which has no bytes"
            yield from _wrong(f"{label}[{_shown(key)}]", item, levels - 1)
    elif kind not in _PLAIN:
        other = ", or declare the parameter with its type" if _can_be_declared(value) else ""
        yield f"{label} is {described(value)}, {_fate(value)}: pass {_instead(value)}{other}"
    elif kind is float and not math.isfinite(value):
        yield f"{label} is {value}, which JSON does not have: pass None, or text"
    elif kind is int and not -_TOO_LARGE < value < _TOO_LARGE:
        yield f"{label} is a whole number of more than {MOST_DIGITS} digits, which cannot be read again: pass hex(…)"
    elif kind is str and not _is_text(value):
        yield f"{label} is text with half a character (a surrogate), which has no bytes: pass os.fsencode(…).hex()"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def described(value: Any) -> str:
    """What ``value`` is, for people."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"the named tuple {type(value).__name__}"
    if isinstance(value, enum.Enum):
        return f"a member of the enumeration {type(value).__name__}"
    name = type(value).__name__
    base = next((kind.__name__ for kind in _KINDS if isinstance(value, kind)), name)
    article = "an" if name[0] in "aeioAEIO" else "a"
    return f"{article} {name}" if base == name else f"{article} {name}, a kind of {base}"


def _fate(value: Any) -> str:
    """What would become of ``value``."""
    if isinstance(value, enum.Enum):
        return "which would arrive as its value, if at all"
    base = next((kind.__name__ for kind in _KINDS if isinstance(value, kind)), "")
    if base == "tuple":
        return "which would arrive as a list"
    return f"which would arrive as a plain {base}" if base else "which JSON does not have"


def _instead(value: Any) -> str:
    """What to pass instead of ``value``."""
    match value:
        case enum.Enum():
            return "its .value (or .name)"
        case tuple() if hasattr(value, "_fields"):
            return "its ._asdict(), or list(…)"
        case tuple() | list():
            return "list(…)"
        case str() | uuid.UUID() | decimal.Decimal() | pathlib.PurePath():
            return "str(…)"
        case int():
            return "int(…)"
        case float():
            return "float(…)"
        case dict():
            return "dict(…)"
        case set() | frozenset():
            return "sorted(…) or list(…)"
        case bytes() | bytearray() | memoryview():
            return ".hex(), or text in base64"
        case datetime.datetime() | datetime.date() | datetime.time():
            return ".isoformat()"
        case datetime.timedelta():
            return ".total_seconds()"
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return "dataclasses.asdict(…)"
        case _ if hasattr(value, "model_dump"):
            return '.model_dump(mode="json")'
        case _ if hasattr(value, "item") and hasattr(value, "dtype"):
            return ".item() or .tolist()"
    return "plain values (ids, text, numbers, lists, dicts), and load the rest inside the task"


def _can_be_declared(value: Any) -> bool:
    """Whether ``value`` arrives where the function declares such a type (see rich/)."""
    return (
        isinstance(value, (enum.Enum, pathlib.PurePath))
        or type(value) in _DECLARABLE
        or hasattr(type(value), "_fields")
        or (dataclasses.is_dataclass(value) and not isinstance(value, type))
        or any(hasattr(type(value), name) for name in ("__attrs_attrs__", "__struct_fields__", "model_dump"))
    )


def _shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 40 else f"{text[:40]}…"
