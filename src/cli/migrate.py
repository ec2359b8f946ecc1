"""``dueq migrate``: let another strategy keep a namespace, or keep it with another store, with all its tasks."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

from ..admin import housekeeping
from ..admin.format import duration
from ..core.errors import ConfigurationError
from ..core.namespace import Namespace
from ..core.schema import ownership
from ..core.upkeep import migration
from ..core.upkeep.migration import Migration
from .options import Json, NamespaceName, RedisUrl, opened
from .output import note, progress, say, say_json


class Store(StrEnum):
    """The stores that a namespace can have."""

    SCRIPTED = "scripted"
    TRANSACTIONAL = "transactional"


def migrate(
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="The strategy to move to (dueq doctor lists them).")
    ] = None,
    store: Annotated[
        Store | None,
        typer.Option("--store", help="The store to move to; as it is, if not given. transactional needs no scripts."),
    ] = None,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Move a namespace, with all its tasks, to another strategy or store.

    Nothing is lost, started early or started twice, whatever is cut off
    when: run it again, and it goes on where it was. Producers may go on
    scheduling. Until it is over, due tasks wait, cancel and reschedule are
    refused, and no dueq run can start. One that runs lets its running tasks
    finish and then ends with exit code 4: start it again, without the old
    --strategy.

    With --store alone nothing is moved, since both stores leave the same
    layout: it is one step, and a dueq run that runs ends as above. Without
    it, a namespace keeps its store if the strategy can have it.

    \b
    Examples:
      dueq migrate --to buckets
      dueq migrate --to lua --namespace trial --json
      dueq migrate --store transactional
    """
    if to is None and store is None:
        raise typer.BadParameter("say where to: --to for another strategy, --store for another store")
    with opened(redis_url, namespace) as space:
        if to is None and ownership.owner_of(ownership.look(space.client, space.keys)) is None:
            raise ConfigurationError(
                f"no strategy owns namespace {space.keys.namespace!r} yet: name one with --to, too"
            )
        began, before = time.monotonic(), space.strategy.ownership
        target = to or before.strategy
        begun = migration.begin(space, target, store=None if store is None else store.value)
        moved = 0 if begun is None else _finished(space, begun)
        taken = duration(time.monotonic() - began)
        name, kept = space.keys.namespace, ownership.store_in(ownership.look(space.client, space.keys))
    if as_json:
        source = begun and begun.source
        say_json({"namespace": name, "strategy": target, "store": kept, "from": source, "moved": moved})
        return
    if kept != before.store:
        say(f"namespace {name} uses the {kept} store now, not the {before.store} one")
    if begun is not None:
        say(f"namespace {name} is owned by strategy {target} now: {moved:,} tasks moved from {begun.source} in {taken}")
    else:
        say(f"namespace {name} is owned by strategy {target}: nothing to move")


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
