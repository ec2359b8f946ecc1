"""``dueq quarantine``: what could not be read and was put out of the way."""

from __future__ import annotations

import base64
import itertools
from typing import Annotated

import typer

from ..admin.format import moment, timestamp
from ..core.schema.quarantine import counts, quarantined
from .options import Json, NamespaceName, RedisUrl, opened
from .output import draw, note, say, say_json, table


def quarantine(
    limit: Annotated[int, typer.Option(min=1, help="Most things to show.")] = 100,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """List what could not be read and was put out of the way: when, where it was found, and its bytes.

    record: a damaged record of a task. entry: something in a list of tasks
    that is no id. key: a key that held another type than dueq's; its
    bytes are the name that it has now. field: what stood in meta, where
    no dueq writes such a thing. With --json the bytes are whole,
    in base64, so that what is in them can be scheduled again.

    \b
    Examples:
      dueq quarantine
      dueq quarantine --json | jq -r .bytes          (JSON lines)
    """
    with opened(redis_url, namespace) as space:
        found = list(itertools.islice(quarantined(space.client, space.keys), limit))
        total = sum(counts(space.client, space.keys).values())
    if as_json:
        for one in found:
            view = {"kind": one.kind, "id": one.id, "place": one.place, "found_at": timestamp(one.at_us)}
            say_json({**view, "bytes": base64.b64encode(one.raw).decode()})
    elif found:
        rows = [(one.kind, one.id, one.place, moment(one.at_us), f"{len(one.raw):,}") for one in found]
        columns = ("kind", "id", "place", "found at", "bytes")
        draw(table(None, columns, rows, numbers="bytes", whole=("id", "found at")))
    else:
        say("nothing is in quarantine")
    if total > len(found) and not as_json:
        note(f"{total - len(found):,} more: raise --limit")
