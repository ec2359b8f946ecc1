"""``dueq status``: queues and workers, once or again and again."""

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
        bool, typer.Option("--all", help="Name every queue; without it, of more than 20 those that have most tasks.")
    ] = False,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Show who serves a namespace, and how many tasks are in which state.

    Each supervisor (dueq run) is named with its host, its processes, its
    queues, and its last sign of life. What keeps tasks from being run is said
    first.

    scheduled: not due yet. ready: due, waiting for a worker. leased: running.
    unclaimed: due, but no worker that met it knows its task's name: put aside,
    not started. dead: given up after its retries (dueq dead list). overdue: how late the
    oldest task is that is due and has not started. What could not be read, and
    tasks that a newer dueq wrote, are said below, with what to do next.

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
    kept = f"namespace {view.namespace}, strategy {view.strategy}, {view.store} store"
    head = words(f"{view.server} at {view.redis_url}, {kept}")
    rows = [_row(queue, view.now_us) for queue in (view.queues if every else _deepest(view.queues))]
    nothing = "no task is here now" if view.ever else "no task was ever scheduled here"
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
        words(f"{tasks:,} of queue {queue} call {legible(name)}: put aside, until a worker comes that knows it")
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
        text = f"in quarantine, since nothing could read it: {kinds}; dueq quarantine shows what, and where it was"
        lines.append(words(text, "yellow"))
    return lines


def _deepest(queues: Sequence[QueueView]) -> list[QueueView]:
    """The queues to show: all, or those that have most tasks and one line for the others."""
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
