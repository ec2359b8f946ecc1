"""Imports run downwards only between rooms, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
ROOMS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("bench", "chaos", "replay"),
    ("harness",),
    ("admin",),
    ("strategies",),
    ("core.supervisor",),
    ("core.worker", "core.dispatcher", "core.maintenance"),
    ("core.telemetry",),
    ("core.app",),
    ("core.upkeep",),
    ("core.namespace",),
    ("core.store",),
    ("core.schema",),
    ("core.client",),
    ("core.process",),
    ("core.config",),
    ("core.clock",),
    ("core.errors",),
)
"""From top to bottom, as docs/architecture.md draws them. Those on one level do not import each other."""
MOST_IN_CORE = 16


@cache
def modules() -> dict[str, Path]:
    """Every module of dueq by its name without ``dueq.``, and its file."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


@cache
def imports(name: str) -> frozenset[str]:
    """The modules that ``name`` imports when it runs, in functions too; not those for types alone."""
    path, known = modules()[name], modules()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in _run(ast.parse(path.read_text(encoding="utf-8"))):
        above = package[: len(package) - node.level + 1]
        base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
        for alias in node.names:
            whole = f"{base}.{alias.name}".strip(".")
            found |= {whole if whole in known else base} & known.keys()
    return frozenset(found - {name})


def _run(node: ast.AST) -> Iterator[ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and child.level:
            yield child
        yield from _run(child)


def place(name: str) -> tuple[int, str]:
    """The level of a module's room, counted from the top, and the room."""
    for level, rooms in enumerate(ROOMS):
        for room in rooms:
            if name == room or name.startswith(f"{room}."):
                return level, room
    raise AssertionError(f"dueq.{name} is in no room: put it into one, or give the new room its level here")


def everything() -> list[str]:
    return [name for name in modules() if name != "core"]


def test_no_import_goes_upwards() -> None:
    upwards = [
        f"dueq.{name} imports dueq.{other}"
        for name in everything()
        for other in sorted(imports(name) - {"core"})
        if place(other)[0] < place(name)[0] or (place(other)[0] == place(name)[0] and place(other)[1] != place(name)[1])
    ]
    assert upwards == []


def test_no_import_goes_round_in_a_circle() -> None:
    done: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            pytest.fail("in a circle: " + " imports ".join((*way[way.index(name) :], name)))
        if name not in done:
            for other in imports(name):
                follow(other, (*way, name))
            done.add(name)

    for name in everything():
        follow(name, ())


def test_imports_of_ours_are_relative() -> None:
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] != "dueq", name
            elif isinstance(node, ast.Import):
                assert "dueq" not in {alias.name.split(".")[0] for alias in node.names}, name


def test_the_engine_has_few_rooms_and_each_says_what_it_is() -> None:
    entries = [path for path in (SRC / "core").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_IN_CORE
    for name, path in modules().items():
        if name != "core":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name


def test_a_wrong_arrow_would_be_seen() -> None:
    assert place("core.worker.pipeline") != place("core.dispatcher.dispatcher")
    assert "core.store.values" in imports("core.worker.worker")
    assert "core.app.producer" in imports("core.app.application"), "an import within a function counts"
