"""``dueq explain``: the story of one task."""

from __future__ import annotations

from typing import Any

import typer

from ..admin.format import moment, timestamp
from ..admin.overview import task_view
from ..admin.story import story, words
from ..core.schema.journal import events_of
from ..core.schema.record import check_id
from .exits import Exit
from .options import Json, NamespaceName, RedisUrl, opened
from .output import complain, draw, say, say_json, table


def explain(
    task_id: str = typer.Argument(metavar="ID", help="Id of a task, as printed by dueq schedule."),
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Show what happened to a task, and when: scheduled, made ready, started, ended; why late, why again.

    Each start is shown with its worker and token. Tasks that are done or
    cancelled are shown, too, as long as the journal has them: it keeps the
    latest 16,000 events of a namespace. A process that is killed loses its
    events of the last second. The exit code is 1 if nothing is known.

    \b
    Examples:
      dueq explain greeting
      dueq explain greeting --json | jq .findings
    """
    check_id(task_id)
    with opened(redis_url, namespace) as space:
        record = space.store.record(task_id)
        view: dict[str, Any] = {} if record is None else task_view(space, record)
        found = story(task_id, record, events_of(space.client, space.keys, task_id), view.get("reason", ""))
        name = space.keys.namespace
    if as_json:
        events = [
            {
                "at": timestamp(e.at_us),
                "at_us": e.at_us,
                "event": e.kind,
                "token": e.token or None,
                "by": e.who,
                **e.facts,
            }
            for e in found.events
        ]
        say_json({"id": task_id, "task": view or None, "events": events, "findings": found.findings})
    elif record is not None or found.events:
        first = found.events[0].at_us if found.events else 0
        rows = [
            [moment(e.at_us), f"+{(e.at_us - first) / 1e6:.3f} s", words(e), e.token or "", e.who] for e in found.events
        ]
        columns = ("when", "since", "what", "token", "by")
        draw(table(None, columns, rows, numbers="since token", whole=("when",)))
        for finding in found.findings:
            say(finding)
    if record is None and not found.events:
        complain(f"nothing is known of a task {task_id} in namespace {name}: it never existed, or is long gone")
        raise typer.Exit(Exit.NO)
