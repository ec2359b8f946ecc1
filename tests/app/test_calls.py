"""Calls that do not fit their function, and results that are not run yet (coroutines, generators)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from dueq.core.app.invocation import misfit, unfinished


def remind(user_id: int, text: str = "a secret", *, urgent: bool = False) -> None:
    if text == "inside":
        int(None)  # type: ignore[call-overload]
    if text == "deeper":
        remind()  # type: ignore[call-arg]


def recurs(user_id: int) -> None:
    recurs()  # type: ignore[call-arg]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def injected(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "early" in args:
            int(None)  # type: ignore[call-overload]
        return function(1, *args, **kwargs)

    return wrapper


class Called:
    def __call__(self, one: int) -> None: ...


def _judged(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str | None:
    try:
        function(*args, **kwargs)
    except TypeError as error:
        found = misfit("shop.remind", function, args, kwargs, error)
        return None if found is None else str(found)
    raise AssertionError("it fitted")


@pytest.mark.parametrize("function", [remind, wrapped(remind), functools.partial(remind)])
def test_what_does_not_fit_is_told_by_names_and_types_alone(function: Callable[..., Any]) -> None:
    signature = "(user_id, text=…, *, urgent=…)"
    for args, kwargs, got in (
        ((), {}, "()"),
        ((1, "x", 3), {}, "(int, str, int)"),
        ((1,), {"when": "a secret"}, "(int, when=str)"),
    ):
        said = _judged(function, *args, **kwargs)
        assert said is not None
        assert f"{signature}, got {got}" in said
        assert "secret" not in said
    assert "shop.remind was made for remind(" in (_judged(remind) or "")


@pytest.mark.parametrize("text", ["inside", "deeper"])
def test_an_error_of_the_tasks_own_is_left_to_it(text: str) -> None:
    assert _judged(remind, 1, text) is None
    assert _judged(wrapped(remind), 1, text) is None


def test_what_a_decorator_adds_is_not_missing() -> None:
    assert _judged(injected(remind), "inside") is None
    assert _judged(injected(remind), "early") is None
    assert _judged(injected(remind), 1, 2, 3) is not None
    assert _judged(injected(recurs)) is None, "it ran, and called itself wrongly"


def test_other_callables() -> None:
    assert "(one), got ()" in (_judged(Called()) or "")
    assert _judged(dict, 3) is None  # its signature cannot be had


async def _coroutine() -> None: ...


async def _async_generator() -> AsyncIterator[int]:
    yield 1


def _generator() -> Iterator[int]:
    yield 1


class _Awaitable:
    def __await__(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("made", "what"),
    [
        (_coroutine, "a coroutine,"),
        (_async_generator, "an asynchronous generator,"),
        (_generator, "a generator,"),
        (_Awaitable, "an awaitable (_Awaitable),"),
        (lambda: asyncio.Future(loop=asyncio.new_event_loop()), "an awaitable (Future),"),
    ],
)
def test_what_nobody_runs_is_named(made: Callable[[], object], what: str) -> None:
    result = made()
    assert what in str(unfinished("shop.remind", result))
    if isinstance(result, asyncio.Future):
        result.get_loop().close()


@pytest.mark.parametrize("value", [0, "", [1], {}, object(), range(3), iter([])])
def test_plain_values_are_done(value: object) -> None:
    assert unfinished("shop.remind", value) is None
