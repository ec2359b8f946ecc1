"""``dueq status``: queues and workers, once or again and again."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ..core.clock import US
from ..core.store.unclaimed import legible
from .options import Json, NamespaceName, RedisUrl, opened
from .output import console, duration, say_json, table, words
from .overview import Overview, overview

_EVERY_S = 1.0


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every second, until Ctrl+C.")] = False,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Show the server, and how many tasks are in which state.

    scheduled: not due yet. ready: due, waiting for a worker. leased: running.
    unclaimed: due, but no worker that met it knows its task's name: put aside,
    not started. dead: given up after its retries (dueq dead list). overdue: how late the
    oldest task is that is due and has not started.

    \b
    Examples:
      dueq status
      dueq status --watch
      dueq status --json | jq '.queues[] | {queue, ready}'
    """
    with opened(redis_url, namespace) as space:
        if as_json:
            say_json(overview(space).as_json())
            while watch:
                time.sleep(_EVERY_S)
                say_json(overview(space).as_json())
        elif watch:
            with Live(_drawn(overview(space)), console=console(), auto_refresh=False) as live:
                while True:
                    time.sleep(_EVERY_S)
                    live.update(_drawn(overview(space)), refresh=True)
        else:
            console().print(_drawn(overview(space)))


def _drawn(view: Overview) -> Group:
    head = words(f"{view.server} at {view.redis_url}, namespace {view.namespace}, strategy {view.strategy}")
    rows = [
        (
            queue.name,
            f"{queue.scheduled:,}",
            f"{queue.ready:,}",
            f"{queue.leased:,}",
            f"{queue.unclaimed:,}",
            f"{queue.dead:,}",
            _next(queue.next_due_us, view.now_us),
            Text(duration(queue.overdue_s), style="yellow" if queue.overdue_s > 1 else "") if queue.overdue_s else "-",
        )
        for queue in view.queues
    ]
    columns = ("queue", "scheduled", "ready", "leased", "unclaimed", "dead", "next due in", "overdue")
    queues = (
        table(None, columns, rows, numbers=" ".join(columns[1:6])) if rows else Text("no task was ever scheduled here")
    )
    workers = [words(f"{name} holds {count:,}") for name, count in view.workers.items()]
    aside = [
        words(f"{tasks:,} of queue {queue} call {legible(name)}: put aside, until a worker comes that knows it")
        for (queue, name), tasks in view.unclaimed.items()
    ]
    return Group(head, Text(), queues, *aside, Text(), *(workers or [Text("no worker holds a task")]))


def _next(due_us: int | None, now_us: int) -> str:
    if due_us is None:
        return "-"
    return duration((due_us - now_us) / US) if due_us > now_us else "now"
