"""A task is checked when it is defined, by types and values; the error says what to write."""

from __future__ import annotations

import asyncio
import functools
import inspect
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dueq import Backoff, Dueq
from dueq.core.errors import ConfigurationError

NAN, INF = float("nan"), float("inf")


def square(x: int) -> int:
    return x * x


async def coroutine() -> None: ...


async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


def generator() -> Iterator[int]:
    yield 1


class Methods:
    async def coroutine(self) -> None: ...

    def generator(self) -> Iterator[int]:
        yield 1

    @staticmethod
    async def static() -> None: ...

    @classmethod
    async def of_class(cls) -> None: ...

    async def __call__(self) -> None: ...


class Called:
    def __call__(self, x: int) -> int:
        return x


marked = getattr(inspect, "markcoroutinefunction", lambda _: coroutine)(lambda: coroutine())

UNFINISHED: dict[str, Any] = {
    "a coroutine function": coroutine,
    "an asynchronous generator": asynchronous_generator,
    "a generator": generator,
    "a method": Methods().coroutine,
    "a method that generates": Methods().generator,
    "a static method": Methods.static,
    "a static method, not bound": Methods.__dict__["static"],
    "a class method": Methods.of_class,
    "an object with such a call": Methods(),
    "partial": functools.partial(coroutine),
    "partial of partial": functools.partial(functools.partial(generator)),
    "partial of a method": functools.partial(Methods().coroutine),
    "partial of an object": functools.partial(Methods()),
    "kept by a cache": functools.lru_cache(coroutine),
    "partial of what a cache keeps": functools.partial(functools.cache(generator)),
    "marked as one": marked,
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_what_a_call_would_not_run_is_no_task(what: str) -> None:
    function = UNFINISHED[what]
    for define in (Dueq().task(name="x"), Dueq().task, Dueq().handler):
        with pytest.raises(ConfigurationError, match=r"plain def.*asyncio\.run"):
            define(function)


@functools.wraps(coroutine)
def runs_it() -> None:
    asyncio.run(coroutine())


@pytest.mark.parametrize("function", [square, runs_it, print, Called().__call__, functools.lru_cache(square), Called])
def test_what_a_call_runs_is_a_task(function: Callable[..., Any]) -> None:
    task = Dueq().task()(function)
    assert task.name.endswith(function.__qualname__)


@pytest.mark.parametrize("function", [Called(), functools.partial(square, 3)])
def test_what_has_no_name_needs_one(function: Callable[..., Any]) -> None:
    assert Dueq().task(name="called")(function).name == "called"
    with pytest.raises(ConfigurationError, match="name="):
        Dueq().task()(function)


@pytest.mark.parametrize("function", [None, 5, "square", b"x", [], property(square)])
def test_no_functions(function: Any) -> None:
    for define in (Dueq().task(), Dueq().task, Dueq().handler, Dueq().handler()):
        with pytest.raises(ConfigurationError, match=r"@app\.task"):
            define(function)


class Undelayed(Backoff):
    delay = 5  # type: ignore[assignment]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "retries as text": ({"retries": "3"}, "retries=3"),
    "retries as bool": ({"retries": True}, "retries=3"),
    "retries as float": ({"retries": 3.0}, "retries=3"),
    "no retries": ({"retries": None}, "retries=3"),
    "retries below 0": ({"retries": -1}, "at least 0"),
    "retries without end": ({"retries": 10**9}, "at most"),
    "backoff as a number": ({"backoff": 5}, r"backoff=Backoff\(first=5\)"),
    "backoff as text": ({"backoff": "5"}, r"backoff=Backoff\("),
    "backoff as its class": ({"backoff": Backoff}, r"backoff=Backoff\("),
    "backoff without a method": ({"backoff": Undelayed()}, "must be a method"),
    "name as a number": ({"name": 5}, 'name="shop.remind"'),
    "no name": ({"name": ""}, 'name="shop.remind"'),
    "a name with quotes": ({"name": 'a"b'}, "without quotes"),
    "a name with a backslash": ({"name": "a\\b"}, "without quotes"),
    "a name of several lines": ({"name": "a\nb"}, "printable"),
    "a name that is no text": ({"name": "\ud800"}, "printable"),
    "a name too long": ({"name": "a" * 201}, "200"),
    "queue as a number": ({"queue": 5}, "queue 5"),
    "no queue": ({"queue": None}, "queue None"),
    "a queue with a colon": ({"queue": "a:b"}, "use 1 to 64"),
    "timeout as text": ({"soft_timeout": "5"}, "soft_timeout=60"),
    "timeout as bool": ({"hard_timeout": True}, "hard_timeout=60"),
    "a timeout that is no number": ({"hard_timeout": NAN}, "hard_timeout=60"),
    "a timeout without end": ({"soft_timeout": INF}, "soft_timeout=60"),
    "no time at all": ({"soft_timeout": 0}, "above 0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_options_are_checked_at_once(what: str) -> None:
    options, advice = REFUSED[what]
    with pytest.raises(ConfigurationError, match=advice):
        Dueq().task(**options)(square)


@pytest.mark.parametrize(
    "values",
    [(NAN,), (1, NAN), (1, 2, NAN), (1, 2, INF), ("1",), (None,), (True,), (-1,), (1, 0.5), (5, 2, 4), (1, 2, 1e12)],
)  # fmt: skip
def test_backoffs_are_checked_at_once(values: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError, match="Backoff"):
        Backoff(*values)


@pytest.mark.parametrize(
    "settings",
    [
        {"namespace": 5},
        {"strategy": 5},
        {"redis_url": b"redis://h"},
        {"max_payload": "64"},
        {"max_payload": True},
        {"soft_timeout": "1"},
        {"hard_timeout": -1},
    ],
)
def test_an_app_is_checked_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Dueq(**settings)


def test_without_brackets() -> None:
    app = Dueq()
    task = app.task(square)
    assert (task.name, task(3), task.queue) == (f"{__name__}.square", 9, "default")
    handler = app.handler()(square)
    assert app.find(handler.name) is handler
    with pytest.raises(ConfigurationError, match="one function"):
        app.task(square, square)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="already"):
        Dueq().task(task)


# -- the module's name

PROGRAM = """
    import multiprocessing, sys
    from dueq import Dueq
    app = Dueq()

    @app.task
    def remind(user): ...

    def told():
        print(remind.name)

    if __name__ == "__main__":
        told()
        child = multiprocessing.get_context("spawn").Process(target=told)
        child.start()
        child.join()
"""
WAYS: dict[str, tuple[str, str, list[str], str]] = {  # where it stands, where from, how, what it is called
    "a script": ("shop.py", ".", ["shop.py"], "shop.remind"),
    "from elsewhere": ("shop.py", "beside", ["../shop.py"], "shop.remind"),
    "a module": ("shop.py", ".", ["-m", "shop"], "shop.remind"),
    "a module of a package": ("pkg/shop.py", ".", ["-m", "pkg.shop"], "pkg.shop.remind"),
    "a package": ("pkg/__main__.py", ".", ["-m", "pkg"], "pkg.__main__.remind"),
    "a script in a package": ("pkg/shop.py", ".", ["pkg/shop.py"], "pkg.shop.remind"),
    "a script in a package below": ("pkg/sub/shop.py", "pkg", ["sub/shop.py"], "pkg.sub.shop.remind"),
}


def _program(root: Path, file: str, *, package: bool = True) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(PROGRAM))
    for above in path.parents:
        if above == root:
            break
        if package:
            (above / "__init__.py").touch()


def _run(where: Path, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=where, capture_output=True, text=True, input=given, timeout=60, check=False
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_program_names_its_tasks_as_workers_import_them(way: str, tmp_path: Path) -> None:
    file, where, words, name = WAYS[way]
    (tmp_path / "beside").mkdir()
    _program(tmp_path, file)
    done = _run(tmp_path / where, *words)
    said = [name] if way == "a package" else [name, name]  # by a child, too, whose module is __mp_main__
    assert done.stdout.split() == said, done.stderr


def test_two_names_are_refused(tmp_path: Path) -> None:
    _program(tmp_path, "source/shop.py", package=False)
    done = _run(tmp_path, "source/shop.py")
    assert "shop or of source.shop" in done.stderr
    assert "python -m source.shop" in done.stderr
    assert _run(tmp_path, "-m", "source.shop").stdout.split()[0] == "source.shop.remind"
    assert _run(tmp_path / "source", "shop.py").stdout.split()[0] == "shop.remind"


@pytest.mark.parametrize("words", [["-c", textwrap.dedent(PROGRAM)], ["-"], ["a-b.py"], ["."]])
def test_what_no_worker_can_import_is_refused(words: list[str], tmp_path: Path) -> None:
    _program(tmp_path, "a-b.py")
    _program(tmp_path, "__main__.py")
    done = _run(tmp_path, *words, given=textwrap.dedent(PROGRAM))
    assert "name=" in done.stderr
    assert "ConfigurationError" in done.stderr
