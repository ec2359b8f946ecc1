"""Calls, made from the arguments of ``dueq schedule`` or from the lines of its file. Nothing is sent to Redis here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..core.app.definition import check_task_name
from ..core.app.options import written
from ..core.app.payload import encode_body
from ..core.app.task import HANDLER, Call, new_id
from ..core.config import Settings, check_name
from ..core.errors import DueqError, InvalidTask
from ..core.schema.record import check_id
from .known import KnownTasks
from .times import due, expiry

_FIELDS = frozenset({"data", "task", "args", "kwargs", "at", "in", "queue", "id", "expires", "headers"})
_MOST_COMPLAINTS = 10


def call(
    entry: dict[str, Any],
    *,
    queue: str | None = None,
    limit: int = Settings().max_payload,
    known: KnownTasks = KnownTasks(),  # noqa: B008  # frozen
) -> Call:
    """The call that ``entry`` describes. Raises a DueqError.

    An entry without a queue goes to ``queue`` if that is given, else to the queue that its task names.
    """
    if unknown := sorted(entry.keys() - _FIELDS):
        raise InvalidTask(f"unknown field {', '.join(unknown)}: known are {', '.join(sorted(_FIELDS))}")
    name, args, kwargs = _what(entry)
    _expect(entry, ("at", "in"), (str, int, float, type(None)), "text or a number")
    _expect(entry, ("queue", "id"), (str, type(None)), "text")
    _expect(entry, ("expires",), (str, int, float, type(None)), "text or a number")
    _expect(entry, ("headers",), (dict,), "an object")
    when, relative = due(entry.get("at"), entry.get("in"))
    known.check(name, args, kwargs)
    chosen = check_name("queue", entry.get("queue") or queue or known.queue_of(name))
    task_id = new_id() if entry.get("id") is None else check_id(entry["id"])
    until = None if entry.get("expires") is None else expiry(entry["expires"])
    tail = written(known.expiry_of(name) if until is None else until, entry.get("headers"))
    body = encode_body(name, args, kwargs, limit, lambda position: f"args[{position}]" if name != HANDLER else "data")
    return Call(name, chosen, when, relative, body, task_id, tail)


def calls(
    lines: Iterable[str],
    *,
    queue: str | None = None,
    timed: bool = True,
    limit: int = Settings().max_payload,
    known: KnownTasks = KnownTasks(),  # noqa: B008  # frozen
) -> list[Call]:
    """The calls that JSON lines describe. Empty lines are skipped.

    If ``timed`` is False, a line needs no time: its task is then due now. Raises InvalidTask, which names the wrong
    lines.
    """
    found: list[Call] = []
    complaints: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = _object(line)
            if not timed and entry.keys().isdisjoint({"at", "in"}):
                entry["in"] = 0
            found.append(call(entry, queue=queue, limit=limit, known=known))
        except DueqError as error:
            complaints.append(f"line {number}: {error}")
            if len(complaints) == _MOST_COMPLAINTS:
                complaints.append("(the lines after this one were not checked)")
                break
    if complaints:
        raise InvalidTask("nothing was scheduled:\n  " + "\n  ".join(complaints))
    return found


def parsed(text: str) -> Any:
    """The value of a JSON text. Raises RecursionError, or ValueError, also for a name that occurs twice in an object.

    json.loads alone would keep the last value of such a name and drop the others without an error.
    """
    return json.loads(text, object_pairs_hook=_members)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} occurs twice in one object")
    return members


def _object(line: str) -> dict[str, Any]:
    try:
        entry = parsed(line)
    except (ValueError, RecursionError) as error:
        raise InvalidTask(f"not valid JSON: {error}") from None
    if not isinstance(entry, dict):
        raise InvalidTask('expected a JSON object, like {"data": 42, "in": "10m"}')
    return entry


def _what(entry: dict[str, Any]) -> tuple[str, list[Any], dict[str, Any]]:
    """Task name and arguments."""
    if "task" in entry:
        _expect(entry, ("task",), (str,), "text")
        _expect(entry, ("args",), (list,), "a list")
        _expect(entry, ("kwargs",), (dict,), "an object")
        if "data" in entry:
            raise InvalidTask("data is for the handler: a named task takes args and kwargs")
        check_task_name(entry["task"])
        return entry["task"], entry.get("args", []), entry.get("kwargs", {})
    if "data" not in entry:
        raise InvalidTask("what to run is missing: give data (for the app's handler), or task with args and kwargs")
    if "args" in entry or "kwargs" in entry:
        raise InvalidTask("args and kwargs are for a named task: the handler takes data alone")
    return HANDLER, [entry["data"]], {}


def _expect(entry: dict[str, Any], names: tuple[str, ...], types: tuple[type, ...], expected: str) -> None:
    for name in names:
        # Python counts a bool as an int, but a bool is not a time
        if name in entry and (not isinstance(entry[name], types) or isinstance(entry[name], bool)):
            raise InvalidTask(f"{name} must be {expected}, not {json.dumps(entry[name])[:40]}")
