"""``dueq show`` and ``dueq cancel``: single tasks by id."""

from __future__ import annotations

import json

import typer

from ..admin.overview import task_view
from ..core.schema.record import check_id
from .exits import Exit
from .options import Json, NamespaceName, RedisUrl, TaskIds, opened
from .output import complain, draw, say, say_json, table


def show(
    task_id: str = typer.Argument(metavar="ID", help="Id of a task, as printed by dueq schedule."),
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Show one task: its state, due time, arguments, and how often it started.

    The states: scheduled (not due yet), due (its time has come: waiting for a
    dispatcher or a worker), held (taken by a worker, not started), leased
    (running, or about to), unclaimed (due, but put aside and not started, since
    no worker that met it knows its task's name), dead (given up). A task that is
    done, or was cancelled, is forgotten: then the exit code is 1.

    \b
    Examples:
      dueq show greeting
      dueq show greeting --json | jq -r .state
    """
    check_id(task_id)
    with opened(redis_url, namespace) as space:
        record = space.store.record(task_id)
        view = None if record is None else task_view(space, record)
    if view is None:
        if as_json:
            say_json({"id": task_id, "state": None})
        complain(
            f"there is no task {task_id} in namespace {space.keys.namespace}: "
            "it is done, was cancelled, or never existed"
        )
        raise typer.Exit(Exit.NO)
    if as_json:
        say_json(view)
    else:
        words = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in view.items()]
        shown = table(None, ("", ""), words)
        shown.show_header = False
        draw(shown)


def cancel(
    task_ids: TaskIds, redis_url: RedisUrl = None, namespace: NamespaceName = None, as_json: Json = False
) -> None:
    """Cancel tasks that no worker has taken.

    There is an answer for each task: cancelled means that it will not run. The
    exit code is 1 if any task was not cancelled: a worker has it, it has ended,
    or it never existed.

    \b
    Examples:
      dueq cancel greeting
      dueq cancel r-1 r-2 r-3 --json
    """
    for task_id in task_ids:
        check_id(task_id)
    late = 0
    with opened(redis_url, namespace) as space:
        for task_id in task_ids:
            cancelled = space.store.cancel(task_id)
            late += not cancelled
            if as_json:
                say_json({"id": task_id, "cancelled": cancelled})
            else:
                say(
                    f"{task_id} "
                    + ("cancelled" if cancelled else "not cancelled: a worker has it, it has ended, or never existed")
                )
    if late:
        raise typer.Exit(Exit.NO)
