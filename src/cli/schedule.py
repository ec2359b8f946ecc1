"""``dueq schedule``: tasks from the command line or from a file of JSON lines."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..admin.format import timestamp
from ..core.app.application import Dueq
from ..core.app.loader import load
from ..core.app.task import DEFAULT_QUEUE, HANDLER, Call, Handle
from ..core.errors import InvalidTask
from .known import KnownTasks, of_app, of_namespace
from .lines import call, calls, parsed
from .options import Json, NamespaceName, RedisUrl, given
from .output import note, progress, say, say_json
from .times import AT_HELP, EXPIRES_HELP, IN_HELP

_PER_TRIP = 1000


def schedule(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            show_default=False,
            help="JSON: the value for the app's handler, or with --task the list of the task's arguments.",
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", show_default=False, help=f"When: {AT_HELP}.")
    ] = None,
    in_: Annotated[str | None, typer.Option("--in", metavar="DELAY", show_default=False, help=f"Or {IN_HELP}.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", metavar="NAME", show_default=False, help="A named task (MODULE.FUNCTION) instead of the handler."
        ),
    ] = None,
    kwargs: Annotated[
        str | None,
        typer.Option(
            "--kwargs", metavar="JSON", show_default=False, help="Named arguments for --task, as a JSON object."
        ),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue",
            metavar="NAME",
            show_default=False,
            help="Queue of the task; by default the one that the task names, if that is known, else 'default'.",
        ),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            show_default=False,
            help="An id of your own. While it is in use, scheduling it again changes nothing, and a note says so.",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="TIME",
            show_default=False,
            help=f"Until when it may start: {EXPIRES_HELP}. After that it is not run, but counted as misfired.",
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header", metavar="NAME=TEXT", show_default=False, help="A header of the task; may be repeated."
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", metavar="FILE", show_default=False, help="A file of JSON lines, one task each; - is stdin."
        ),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="MODULE:APP",
            show_default=False,
            help="Check names and arguments against this application; use its queues, namespace and address.",
        ),
    ] = None,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Schedule a task, or many from a file; prints their ids.

    Arguments are JSON: text needs its own quotes inside the shell's, as in
    '"hello"'.

    A task goes to the queue that the task names, and a name that dueq does not
    know is refused. It knows the tasks of --app, or else those that the
    supervisors of the namespace registered; a supervisor that crashed stays
    registered for a day. If dueq knows no tasks at all, it takes any name, and
    a note says so.

    \b
    Examples:
      dueq schedule '{"user": 42}' --in 10m
      dueq schedule '"hello"' --at 2030-01-31T09:00+01:00 --id greeting
      dueq schedule --task shop.remind '[42, "hello"]' --in 1h30m --app shop:app
      dueq schedule '"code 4711"' --in 0 --expires 5m --header trace=abc
      dueq schedule --file tasks.jsonl

    \b
    Lines of a file:
      {"data": {"user": 42}, "in": "10m"}
      {"task": "shop.remind", "args": [42], "kwargs": {"text": "hi"}}
      {"data": "hi", "at": 1900000000, "queue": "mail", "id": "r-42"}
      {"data": 4711, "in": 0, "expires": "5m", "headers": {"trace": "abc"}}

    All lines are checked before the first is sent. If Redis fails half-way,
    scheduling the same file again is safe for lines with an id. With --json,
    the answer to a file is JSON lines, in the order of the file.
    """
    if file is not None:
        if any(value is not None for value in (data, at, in_, task, kwargs, id_, expires, header)):
            raise typer.BadParameter("only --queue and --app go with --file: the rest is in the file")
        entry = {}
    else:
        entry = _entry(data, at, in_, task, kwargs, id_)
        entry |= {"expires": expires, "headers": _headers(header or [])}
        call(entry, queue=queue)  # so that a malformed call is refused before dueq connects to Redis
    producer, known = _producer(context, app, redis_url, namespace)
    limit = producer.settings.max_payload
    if file is not None:
        wanted = _from_file(file, queue, limit, known)
    else:
        wanted = [call(entry, queue=queue, limit=limit, known=known)]
    if wanted:
        _doubt_names(wanted, known, queue)
        logging.getLogger("dueq.producer").setLevel(logging.ERROR)  # _report prints what the producer warns of
        _report(_send(producer, wanted, as_json), wanted, as_json)


def _producer(
    context: typer.Context, target: str | None, redis_url: str | None, namespace: str | None
) -> tuple[Dueq, KnownTasks]:
    """The producer, and the tasks that are known. Only flags outrank the application's own address and namespace."""
    if target is None:
        return Dueq(redis_url, namespace=namespace), of_namespace(redis_url, namespace)
    app = load(target)
    address, name = given(context, "redis_url"), given(context, "namespace")
    own = app.settings
    app.bind(replace(own, redis_url=address or own.redis_url, namespace=name or own.namespace))
    return app, of_app(app, target)


def _doubt_names(wanted: list[Call], known: KnownTasks, queue: str | None) -> None:
    """Print a note of the names that could not be checked, and of the queue that was assumed."""
    if known.queues is None and (names := {one.task for one in wanted} - {HANDLER}):
        shown = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
        guessed = "" if queue else f"; queue {DEFAULT_QUEUE!r} where none is given"
        note(f"names not checked, since no supervisor is registered: {shown}{guessed} (--app MODULE:APP checks them)")


def _entry(
    data: str | None, at: str | None, in_: str | None, task: str | None, kwargs: str | None, id_: str | None
) -> dict[str, Any]:
    """The arguments as an entry like one line of the file."""
    entry: dict[str, Any] = {"at": at, "in": in_, "id": id_}
    if task is not None:
        entry |= {"task": task, "args": [] if data is None else _json("DATA", data)}
        if kwargs is not None:
            entry["kwargs"] = _json("--kwargs", kwargs)
        if not isinstance(entry["args"], list):
            raise InvalidTask(f"with --task, DATA is the list of its arguments: '[{data}]'")
    elif data is None:
        raise typer.BadParameter("what to schedule is missing: give DATA, or --task, or --file")
    elif kwargs is not None:
        raise typer.BadParameter("--kwargs goes with --task: the handler takes DATA alone")
    else:
        entry["data"] = _json("DATA", data)
    return entry


def _headers(texts: list[str]) -> dict[str, str]:
    parts = [text.partition("=") for text in texts]
    if wrong := next((text for text, (name, sign, _) in zip(texts, parts, strict=True) if not name or not sign), None):
        raise InvalidTask(f"--header {wrong} is no header: write --header NAME=TEXT")
    return {name: value for name, _, value in parts}


def _json(what: str, text: str) -> Any:
    try:
        return parsed(text)
    except (ValueError, RecursionError) as error:
        quoted = shlex.quote(json.dumps(text, ensure_ascii=False))
        raise InvalidTask(f"{what} is not valid JSON ({error}): if it is meant as text, write {quoted}") from None


def _from_file(file: str, queue: str | None, limit: int, known: KnownTasks) -> list[Call]:
    if file == "-":
        return calls(sys.stdin, queue=queue, limit=limit, known=known)
    try:
        with progress().open(Path(file), "rt", encoding="utf-8", description="Checking") as lines:
            return calls(lines, queue=queue, limit=limit, known=known)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidTask(f"cannot read {file}: {error}") from None


def _send(app: Dueq, wanted: list[Call], as_json: bool) -> list[Handle]:
    handles: list[Handle] = []
    with progress() as bar:
        sending = bar.add_task("Scheduling", total=len(wanted))
        for at in range(0, len(wanted), _PER_TRIP):
            try:
                some = app.schedule_many(wanted[at : at + _PER_TRIP])
            except BaseException:
                if at:
                    _report(handles, wanted[:at], as_json)
                    note(f"stopped early: {at} of {len(wanted)} are scheduled, and perhaps up to {_PER_TRIP} more")
                raise
            handles += some
            bar.advance(sending, len(some))
    return handles


def _report(handles: list[Handle], wanted: list[Call], as_json: bool) -> None:
    for handle, item in zip(handles, wanted, strict=True):
        if as_json:
            # an older task with this id keeps its own due time and queue, which this command does not read
            plan = {"queue": item.queue, "due_at": timestamp(handle.due_us)} if handle.created else {}
            say_json({"id": handle.id, "created": handle.created, "state": handle.state, **plan})
        else:
            say(handle.id)
    if old := [handle for handle in handles if not handle.created]:
        shown = ", ".join(f"{handle.id} ({handle.state})" for handle in old[:5]) + (", …" if len(old) > 5 else "")
        note(f"{len(old)} not scheduled, the id is in use: {shown}")
