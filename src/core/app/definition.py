"""Checks of a task when it is defined, by types and values, so that a mistake does not show only when it runs."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..errors import ConfigurationError, InvalidTask
from .module_names import module_name
from .options import written
from .policy import Backoff, Failures

_MOST_RETRIES = 1_000_000
_MOST_CHARACTERS = 200


def check_function(function: object) -> None:
    """Raises ConfigurationError unless calling ``function`` runs it to its end."""
    if isinstance(function, (str, bytes)) or not callable(function):
        raise ConfigurationError(
            f"{function!r} is not a function: write @app.task(queue=…, name=…) above a def, or app.task()(function)"
        )
    if kind := _unfinished(function):
        raise ConfigurationError(
            f"{_shown(function)} is {kind}: called by a worker it would return at once, and nothing of it would run; "
            f"make it a plain def, which may call asyncio.run(…) or go through a generator itself"
        )


def _unfinished(function: Any) -> str:
    """What ``function`` is, if calling it only makes something that has yet to be run; empty if it is not."""
    for inner in layers(function):
        if inspect.iscoroutinefunction(inner):
            return "a coroutine function (async def)"
        if inspect.isasyncgenfunction(inner):
            return "an asynchronous generator function (async def with yield)"
        if inspect.isgeneratorfunction(inner):
            return "a generator function (def with yield)"
    return ""


def layers(function: Any) -> list[Any]:
    """``function``, and those that get its calls unchanged; not what a wrapper in Python wraps, which may run that."""
    found: list[Any] = []
    while function is not None and len(found) < 100:
        found.append(function)
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function) or isinstance(function, staticmethod):
            function = function.__func__
        elif inspect.isfunction(function) or isinstance(function, type):
            function = None
        elif hasattr(function, "__wrapped__"):  # of functools.cache and its like, which are written in C
            function = function.__wrapped__
        else:
            function = getattr(type(function), "__call__", None)  # noqa: B004  # not whether, but which
    return found


def name_of(function: Any, given: object) -> str:
    """The name of the task: the ``given`` one, else the function's module and qualified name."""
    if given is not None:
        return check_task_name(given)
    qualified = getattr(function, "__qualname__", None)
    if not isinstance(qualified, str):
        raise ConfigurationError(f"{_shown(function)} has no name of its own: give the task one, @app.task(name=…)")
    module = getattr(function, "__module__", None)
    return check_task_name(f"{module_name(module, globals_of(function, module))}.{qualified}")


def globals_of(function: Any, module: str | None) -> Mapping[str, Any]:
    """The names that ``function``, defined in ``module``, knows."""
    own = getattr(function, "__globals__", None)
    return own if own is not None else vars(sys.modules.get(module or "__main__", sys))


def check_task_name(name: object) -> str:
    """Return ``name`` if a task may have it. Raises ConfigurationError."""
    good = isinstance(name, str) and 0 < len(name) <= _MOST_CHARACTERS and name.isprintable() and not {*'"\\'} & {*name}
    if not isinstance(name, str) or not good:
        raise ConfigurationError(
            f"a task cannot be called {name!r}: name is text of 1 to {_MOST_CHARACTERS} printable characters, without "
            f'quotes and backslashes, such as name="shop.remind"'
        )
    return name


def failures(retries: Any, backoff: Any, retry_for: Any, bury_for: Any) -> Failures:
    """What becomes of a task that raises. Raises ConfigurationError if ``retries`` is not a count, ``backoff`` is not a
    Backoff, or one of the others does not name classes of errors."""
    _check_retries(retries, backoff)
    return Failures(
        retries,
        Backoff() if backoff is None else backoff,
        None if retry_for is None else _errors("retry_for", retry_for),
        _errors("bury_for", bury_for),
    )


def check_expires(expires: object) -> None:
    """Raises ConfigurationError unless ``expires`` may be that of a task: None, or a time after its due time."""
    if isinstance(expires, datetime):
        raise ConfigurationError(
            "expires of a task is a time after the due time: write expires=60; a call may name a date"
        )
    try:
        written(expires, None)  # type: ignore[arg-type]
    except InvalidTask as error:
        raise ConfigurationError(*error.args) from None


def _errors(name: str, value: Any) -> tuple[type[BaseException], ...]:
    """The classes of errors in ``value``: one class, or several in a tuple or list."""
    kinds = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ConfigurationError(
                f"{name} has {kind!r}, but takes classes of errors: write {name}=(ConnectionError, TimeoutError)"
            )
    return kinds


def _check_retries(retries: object, backoff: object) -> None:
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise ConfigurationError(f"retries is {retries!r}, but must be a whole number, such as retries=3")
    if not 0 <= retries <= _MOST_RETRIES:
        raise ConfigurationError(
            f"retries is {retries}, but must be at least 0 and at most {_MOST_RETRIES}: retries=0 means that the task "
            f"is tried once"
        )
    if backoff is not None and not isinstance(backoff, Backoff):
        number = isinstance(backoff, (int, float)) and not isinstance(backoff, bool)
        raise ConfigurationError(
            f"backoff is {backoff!r}, but must be a Backoff (seconds): write "
            + (f"backoff=Backoff(first={backoff})" if number else "backoff=Backoff(first=1, factor=2, most=3600)")
        )
    if backoff is not None and not callable(backoff.delay):
        raise ConfigurationError(f"{type(backoff).__name__}.delay is {backoff.delay!r}, but must be a method")


def _shown(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or f"a {type(function).__name__}")
