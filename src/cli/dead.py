"""``dueq dead``: look at dead letters, try them again, or forget them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from ..admin import housekeeping
from ..admin.format import moment, timestamp
from ..admin.housekeeping import Progress, dead_count, dead_letters
from ..core.app.payload import shown_call
from ..core.client.redaction import redact
from ..core.config import check_name
from ..core.errors import ConfigurationError
from ..core.namespace import Namespace
from ..core.schema.record import check_id
from ..core.store.values import DeadLetter
from .exits import Exit
from .options import All, Json, NamespaceName, OneQueue, RedisUrl, SomeTaskIds, Yes, opened
from .output import complain, draw, note, progress, say, say_json, table

commands = typer.Typer(
    no_args_is_help=True,
    help="Dead letters: tasks that used up their retries, were not to be tried again, or lost too many workers.",
)

_REASON_WIDTH = 80


@commands.command("list")
def list_(
    queue: OneQueue = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 100,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """List dead letters, oldest first within each queue, with the reason of each.

    \b
    Examples:
      dueq dead list --queue mail
      dueq dead list --json | jq -r .id          (JSON lines)
    """
    _check(queue)
    with opened(redis_url, namespace) as space:
        letters = list(dead_letters(space, queue, limit))
        total = dead_count(space, queue)
    if as_json:
        for letter in letters:
            say_json(_as_json(letter))
    elif letters:
        rows = [
            (letter.record.id, letter.record.queue, shown_call(letter.record.body)["task"], moment(letter.died_us),
             redact(letter.reason)[:_REASON_WIDTH])
            for letter in letters
        ]  # fmt: skip
        draw(table(None, ("id", "queue", "task", "died at", "reason"), rows, whole=("id", "died at")))
    else:
        say("no dead letters")
    if total > len(letters) and not as_json:
        note(f"{total - len(letters):,} more: raise --limit")


@commands.command()
def retry(
    ids: SomeTaskIds = None,
    everything: All = False,
    queue: OneQueue = None,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Schedule dead letters again: due now, with all their retries.

    The exit code is 1 if any of the ids is not that of a dead letter.

    \b
    Examples:
      dueq dead retry r-42
      dueq dead retry --all --queue mail
    """
    _select(ids, everything, queue)
    with opened(redis_url, namespace) as space:
        if ids:
            _named(space.store.revive, ids, "retried", as_json)
        else:
            _all(housekeeping.retry_dead, space, queue, "retried", as_json)


@commands.command()
def purge(
    ids: SomeTaskIds = None,
    everything: All = False,
    queue: OneQueue = None,
    yes: Yes = False,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """Forget dead letters for good.

    With --all, dueq asks for confirmation on a terminal, and needs --yes
    elsewhere. The exit code is 1 if any of the ids is not that of a dead letter.

    \b
    Examples:
      dueq dead purge r-42
      dueq dead purge --all --queue mail --yes
    """
    _select(ids, everything, queue)
    with opened(redis_url, namespace) as space:
        if ids:
            _named(space.store.discard, ids, "purged", as_json)
        else:
            agreed(f"Forget all {dead_count(space, queue):,} dead letters of {_where(space, queue)}?", yes)
            _all(housekeeping.discard_dead, space, queue, "purged", as_json)


def agreed(question: str, yes: bool, *, because: str = "this cannot be undone") -> None:
    """Ask for confirmation, unless ``yes``; end the command if it is declined. ``because`` is the reason for asking."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{because}, and there is no terminal to ask on: give --yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(Exit.NO)


def _check(queue: str | None) -> None:
    if queue is not None:
        check_name("queue", queue)


def _select(ids: Sequence[str] | None, everything: bool, queue: str | None) -> None:
    _check(queue)
    if bool(ids) == everything:
        raise typer.BadParameter("name the ids of dead letters, or give --all" + (", not both" if ids else ""))
    if ids and queue is not None:
        raise typer.BadParameter("--queue goes with --all: an id needs no queue")
    for task_id in ids or ():
        check_id(task_id)


def _named(act: Callable[[Sequence[str]], int], ids: Sequence[str], done: str, as_json: bool) -> None:
    missing = []
    for task_id in ids:
        if not act([task_id]):
            missing.append(task_id)
        elif not as_json:
            say(f"{task_id} {done}")
    if as_json:
        say_json({done: len(ids) - len(missing), "not_dead": missing})
    if missing:
        complain(f"not among the dead letters: {', '.join(missing)}")
        raise typer.Exit(Exit.NO)


def _all(
    act: Callable[[Namespace, str | None, Progress], int], space: Namespace, queue: str | None, done: str, as_json: bool
) -> None:
    with progress() as bar:
        doing = bar.add_task("Dead letters", total=dead_count(space, queue))
        count = act(space, queue, lambda more: bar.advance(doing, more))
    if as_json:
        say_json({done: count})
    else:
        say(f"{count:,} {done}")


def _where(space: Namespace, queue: str | None) -> str:
    return f"namespace {space.keys.namespace}" + (f", queue {queue}" if queue else "")


def _as_json(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.record.id,
        "queue": letter.record.queue,
        **shown_call(letter.record.body),
        "due_at": timestamp(letter.record.due_us),
        "died_at": timestamp(letter.died_us),
        "starts": letter.record.starts,
        "reason": redact(letter.reason),
    }
