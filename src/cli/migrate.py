"""``dueq migrate``: move a namespace, with all its tasks, to another strategy or store, or to another record format."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, NamedTuple

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
        typer.Option("--store", help="The store to move to; by default it stays. transactional needs no scripts."),
    ] = None,
    format_: Annotated[
        int | None,
        typer.Option("--format", metavar="N", help="The format of new records; an older dueq cannot read a newer one."),
    ] = None,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Move a namespace, with all its tasks, to another strategy or store.

    No task is lost, started early or started twice, even if the migration is
    interrupted: run the command again, and it continues where it stopped.
    Producers may go on scheduling. Until the migration is complete, due tasks
    wait, cancel and reschedule are refused, and no dueq run can start. A dueq
    run that is running lets its tasks finish and then ends with exit code 4:
    start it again, without the old --strategy.

    With --store alone no task is moved, since both stores use the same keys:
    the change is one step, and a running dueq run ends as above. Without
    --store, a namespace keeps its store if the new strategy can use it.

    A namespace that an older dueq began keeps its format of records, so that
    the older one can go on beside this one. Once no older one uses it, let
    --format 2 write new tasks in less memory. There is no way back: older ones
    are refused from then on. Tasks that are there keep their format.

    \b
    Examples:
      dueq migrate --to buckets
      dueq migrate --to lua --namespace trial --json
      dueq migrate --store transactional
      dueq migrate --format 2
    """
    if to is None and store is None and format_ is None:
        raise typer.BadParameter(
            "name the target: --to for another strategy, --store for another store, --format for another record format"
        )
    with opened(redis_url, namespace) as space:
        kept = ownership.look(space.client, space.keys)
        if to is None and ownership.owner_of(kept) is None:
            raise ConfigurationError(
                f"no strategy owns namespace {space.keys.namespace!r} yet: name one with --to, too"
            )
        began, before = time.monotonic(), _Now(space.strategy.ownership.store, ownership.format_in(kept))
        target, wanted = to or space.strategy.name, None if format_ is None else str(format_)
        begun = migration.begin(space, target, store=None if store is None else store.value, format_=wanted)
        moved = 0 if begun is None else _finished(space, begun)
        taken = duration(time.monotonic() - began)
        kept, name = ownership.look(space.client, space.keys), space.keys.namespace
        now = _Now(ownership.store_in(kept), ownership.format_in(kept))
    if as_json:
        view = {"namespace": name, "strategy": target, "store": now.store, "format": now.format}
        say_json(view | {"from": begun and begun.source, "moved": moved})
        return
    _say_changes(name, before, now)
    if begun is not None:
        say(f"namespace {name} is owned by strategy {target} now: {moved:,} tasks moved from {begun.source} in {taken}")
    else:
        say(f"namespace {name} is owned by strategy {target}: nothing to move")


class _Now(NamedTuple):
    """What a namespace has at one time, besides its strategy."""

    store: str | None
    format: str


def _say_changes(name: str, before: _Now, now: _Now) -> None:
    if now.store != before.store:
        say(f"namespace {name} uses the {now.store} store now, not the {before.store} one")
    if now.format != before.format:
        say(f"new tasks of namespace {name} have records of format {now.format} now, not {before.format}")


def _finished(space: Namespace, begun: Migration) -> int:
    """Complete a migration that has begun. Returns how many tasks were moved."""
    if held := housekeeping.holders(space):
        note(f"{len(held)} workers hold {sum(held.values()):,} tasks, and may finish them; then start dueq run again")
    try:
        with progress() as bar:
            moving = bar.add_task(f"From {begun.source} to {begun.target}", total=begun.steps)
            moved = begun.run(lambda more: bar.advance(moving, more))
    except BaseException:
        note(f"not complete: run dueq migrate --to {begun.target} again, and it continues where it stopped")
        raise
    if begun.unreadable:
        note(f"{begun.unreadable:,} records cannot be read (written by a newer dueq?): they stay, but in no index")
    return moved
