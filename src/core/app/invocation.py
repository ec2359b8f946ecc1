"""Whether a task's function ran at all: calls that do not fit it, and results that have yet to be run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any

from ..errors import NothingRan, WrongArguments


def unfinished(task: str, result: object) -> NothingRan | None:
    """The error for a ``result`` that has yet to be run; else None."""
    kind = type(result)
    if issubclass(kind, CoroutineType):
        what, remedy = "a coroutine", "asyncio.run(…)"
        if inspect.getcoroutinestate(result) == inspect.CORO_CREATED:  # type: ignore[arg-type]
            result.close()  # type: ignore[attr-defined]  # or Python warns that it was never awaited
    elif issubclass(kind, GeneratorType):
        what, remedy = "a generator", "for … in …"
    elif issubclass(kind, AsyncGeneratorType):
        what, remedy = "an asynchronous generator", "asyncio.run(…)"
    elif hasattr(kind, "__await__"):
        what, remedy = f"an awaitable ({kind.__name__})", "asyncio.run(…)"
    else:
        return None
    return NothingRan(
        f"{task} returned {what}, which nobody runs, so its work was not done: run it inside the task, by {remedy}, "
        f"and return its result or nothing"
    )


def misfit(
    task: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], error: TypeError
) -> WrongArguments | None:
    """The error to report if ``function`` does not take these arguments; None if ``error`` came from inside of it."""
    try:
        signature = inspect.signature(function)
        if _fits(signature, args, kwargs) or not _refused(function, error):
            return None
        return WrongArguments(f"{made_for(task, function, args, kwargs)}: is the code of producer and worker the same?")
    except Exception:  # noqa: BLE001  # without a signature, nothing more is known
        return None


def made_for(task: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """What ``function`` takes, by names, and what it got, by types: values may be long, or secret."""
    got = [type(value).__name__ for value in args]
    got += [f"{name}={type(value).__name__}" for name, value in kwargs.items()]
    return f"{task} was made for {_name(function)}{_bare(inspect.signature(function))}, got ({', '.join(got)})"


def _fits(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _refused(function: Callable[..., Any], error: TypeError) -> bool:
    """Whether ``error`` was raised where the function was called, not inside of it.

    A decorator's function may have been entered by then; the error's text shows that it is about the call.
    """
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return True
    return not _entered(code, error.__traceback__) and str(error).startswith(f"{inner.__qualname__}()")


def _entered(code: object, where: TracebackType | None) -> bool:
    while where is not None:
        if where.tb_frame.f_code is code:
            return True
        where = where.tb_next
    return False


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


class _Default:
    def __repr__(self) -> str:
        return "…"


def _bare(signature: inspect.Signature) -> inspect.Signature:
    """The names of the parameters alone: defaults may be long, or secret."""
    bare = [
        each.replace(annotation=each.empty, default=each.default if each.default is each.empty else _Default())
        for each in signature.parameters.values()
    ]
    return signature.replace(parameters=bare, return_annotation=signature.empty)
