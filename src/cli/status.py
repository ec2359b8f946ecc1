"""``dueq status``: queues and workers, once or every second."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ..admin import engines
from ..admin.format import duration
from ..admin.overview import Overview, QueueView, overview
from ..core.clock import US
from ..core.store.names import NEWER
from ..core.store.unclaimed import legible
from .options import Json, NamespaceName, RedisUrl, opened
from .output import console, say_json, table, words

_EVERY_S = 1.0
_MOST = 20  # queues named without --all


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every second, until Ctrl+C.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Show every queue; by default the 20 most overdue or with the most tasks.")
    ] = False,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Show who serves a namespace, and how many tasks are in which state.

    Warnings come first: they say what keeps tasks from being run. Each
    supervisor (dueq run) is listed with its host, its processes, its queues,
    and its last sign of life.

    scheduled: not due yet. ready: due, waiting for a worker. leased: running, or about to.
    unclaimed: due, but put aside and not started, since no worker that met it
    knows its task's name. dead: given up after its retries (dueq dead list).
    overdue: how late the oldest due task is that has not started. Data that
    could not be read, and tasks that a newer dueq wrote, are listed below the
    queues, with what to do about them.

    \b
    Examples:
      dueq status
      dueq status --watch
      dueq status --json | jq '.queues[] | {queue, ready}'
    """
    with opened(redis_url, namespace, writes=False) as space:
        if as_json:
            say_json(overview(space).as_json())
            while watch:
                time.sleep(_EVERY_S)
                say_json(overview(space).as_json())
        elif watch:
            with Live(_drawn(overview(space), every), console=console(), auto_refresh=False) as live:
                while True:
                    time.sleep(_EVERY_S)
                    live.update(_drawn(overview(space), every), refresh=True)
        else:
            console().print(_drawn(overview(space), every))


def _drawn(view: Overview, every: bool) -> Group:
    about = f"namespace {view.namespace}, strategy {view.strategy}, {view.store} store"
    head = words(f"{view.server} at {view.redis_url}, {about}")
    rows = [_row(queue, view.now_us) for queue in (view.queues if every else _deepest(view.queues))]
    nothing = "there are no tasks now" if view.ever else "no task was ever scheduled here"
    columns = ("queue", "scheduled", "ready", "leased", "unclaimed", "dead", "next due in", "overdue")
    queues = table(None, columns, rows, numbers=" ".join(columns[1:6])) if rows else Text(nothing)
    warnings = [words(f"warning: {text}", "yellow") for text in view.warnings]
    supervisors = [
        words(engines.line(one, view.now_us), "" if one.alive(view.now_us) else "yellow") for one in view.supervisors
    ]
    where = engines.processes(view.supervisors)
    workers = [
        words(f"{name}{f' ({where[name]})' if name in where else ''} holds {count:,}")
        for name, count in view.workers.items()
    ]
    aside = [
        words(f"queue {queue}: {tasks:,} put aside, until a worker knows their task {legible(name)}")
        for (queue, name), tasks in view.unclaimed.items()
        if name != NEWER
    ]
    engine = supervisors or [Text("no supervisor is registered")]
    held = workers or [Text("no worker holds a task")]
    return Group(head, *warnings, Text(), queues, *aside, *_unreadable(view), Text(), *engine, *held)


def _unreadable(view: Overview) -> list[Text]:
    """What this dueq cannot read, and what to do about it."""
    lines: list[Text] = []
    if view.newer:
        tasks = "1 task" if view.newer == 1 else f"{view.newer:,} tasks"
        lines.append(words(f"{tasks} set aside, written by a newer dueq: upgrade dueq here to run them", "yellow"))
    if any(view.quarantined.values()):
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in view.quarantined.items() if count)
        text = f"in quarantine, since it could not be read: {kinds}; dueq quarantine lists it"
        lines.append(words(text, "yellow"))
    return lines


def _deepest(queues: Sequence[QueueView]) -> list[QueueView]:
    """The queues to show: all if they are few, else the most overdue and deepest, and one line for the others."""
    if len(queues) <= _MOST:
        return list(queues)
    ranked = sorted(queues, key=lambda queue: (-queue.overdue_s, -queue.depth, queue.name))
    shown, rest = ranked[:_MOST], ranked[_MOST:]
    due = [queue.next_due_us for queue in rest if queue.next_due_us is not None]
    others = QueueView(
        f"({len(rest):,} more: --all)",
        sum(queue.scheduled for queue in rest),
        sum(queue.ready for queue in rest),
        sum(queue.leased for queue in rest),
        sum(queue.unclaimed for queue in rest),
        sum(queue.dead for queue in rest),
        min(due, default=None),
        max(queue.overdue_s for queue in rest),
    )
    return [*shown, others]


def _row(queue: QueueView, now_us: int) -> tuple[object, ...]:
    return (
        queue.name,
        f"{queue.scheduled:,}",
        f"{queue.ready:,}",
        f"{queue.leased:,}",
        f"{queue.unclaimed:,}",
        f"{queue.dead:,}",
        _next(queue.next_due_us, now_us),
        Text(duration(queue.overdue_s), style="yellow" if queue.overdue_s > 1 else "") if queue.overdue_s else "-",
    )


def _next(due_us: int | None, now_us: int) -> str:
    if due_us is None:
        return "-"
    return duration((due_us - now_us) / US) if due_us > now_us else "now"
