"""``dueq purge``: forget a whole namespace."""

from __future__ import annotations

from typing import Annotated

import typer

from ..admin import housekeeping
from ..core.client.redaction import redact
from .dead import agreed
from .exits import Exit
from .options import Json, NamespaceName, RedisUrl, Yes, opened
from .output import complain, progress, say, say_json


def purge(
    yes: Yes = False,
    force: Annotated[
        bool, typer.Option("--force", help="Purge even while workers hold tasks; nothing counts what they run then.")
    ] = False,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Forget a whole namespace: every task in every state, its dead letters, counters and choice of strategy.

    This cannot be undone. dueq asks for confirmation on a terminal, and needs
    --yes elsewhere. While workers hold tasks, it refuses with exit code 1: stop
    them first. Other namespaces, and other data on the server, are not
    touched.

    \b
    Examples:
      dueq purge --namespace trial
      dueq purge --namespace trial --yes --json
    """
    with opened(redis_url, namespace) as space:
        name, where = space.keys.namespace, redact(space.settings.redis_url or "")
        if not force and (held := housekeeping.holders(space)):
            complain(
                f"{len(held)} workers hold {sum(held.values()):,} tasks of namespace {name}: stop dueq run first "
                f"(if the workers are dead, the reaper of a running dueq takes their tasks back), or give --force"
            )
            raise typer.Exit(Exit.NO)
        agreed(f"Forget every task of namespace {name} on {where}, for good?", yes)
        with progress() as bar:
            deleting = bar.add_task("Deleting keys", total=housekeeping.key_count(space))
            tasks = housekeeping.purge(space, lambda more: bar.advance(deleting, more))
    if as_json:
        say_json({"namespace": name, "tasks": tasks})
    else:
        say(f"namespace {name} is empty: {tasks:,} tasks forgotten")
