"""``dueq migrate``: let another strategy keep a namespace, with all its tasks."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ..admin import housekeeping
from ..admin.format import duration
from ..core.namespace import Namespace
from ..core.upkeep import migration
from ..core.upkeep.migration import Migration
from .options import Json, NamespaceName, RedisUrl, opened
from .output import note, progress, say, say_json


def migrate(
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The strategy to move to (dueq doctor lists them).")],
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Move a namespace, with all its tasks, to another strategy.

    Nothing is lost, started early or started twice, whatever is cut off
    when: run it again, and it goes on where it was. Producers may go on
    scheduling. Until it is over, due tasks wait, cancel and reschedule are
    refused, and no dueq run can start. One that runs lets its running tasks
    finish and then ends with exit code 4: start it again, without the old
    --strategy.

    \b
    Examples:
      dueq migrate --to buckets
      dueq migrate --to lua --namespace trial --json
    """
    with opened(redis_url, namespace) as space:
        began = time.monotonic()
        begun = migration.begin(space, to)
        moved = 0 if begun is None else _finished(space, begun)
        taken = duration(time.monotonic() - began)
        name = space.keys.namespace
    if as_json:
        say_json({"namespace": name, "strategy": to, "from": begun and begun.source, "moved": moved})
    elif begun is None:
        say(f"namespace {name} is kept by strategy {to}: nothing to move")
    else:
        say(f"namespace {name} is kept by strategy {to} now: {moved:,} tasks moved from {begun.source} in {taken}")


def _finished(space: Namespace, begun: Migration) -> int:
    """Do all of a migration that has begun; returns how many tasks were moved."""
    if held := housekeeping.holders(space):
        note(f"{len(held)} workers hold {sum(held.values()):,} tasks: they can finish them; then start dueq run again")
    try:
        with progress() as bar:
            moving = bar.add_task(f"From {begun.source} to {begun.target}", total=begun.steps)
            moved = begun.run(lambda more: bar.advance(moving, more))
    except BaseException:
        note(f"this is not over: run dueq migrate --to {begun.target} again, and it goes on where it was")
        raise
    if begun.unreadable:
        note(f"{begun.unreadable:,} records cannot be read (a newer dueq's?) and are left as they are, in no index")
    return moved
