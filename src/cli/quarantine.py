"""``dueq quarantine``: data that could not be read and was put into quarantine."""

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
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 100,
    redis_url: RedisUrl = None,
    namespace: NamespaceName = None,
    as_json: Json = False,
) -> None:
    """List data that could not be read and is in quarantine: when and where it was found, and its bytes.

    record: the damaged record of a task. entry: an element of a list of tasks
    that is not an id. key: a key of another type than dueq uses there; its
    bytes are the name that the key has now. field: a value in the hash meta
    that no dueq writes there. --json prints all bytes, in base64, so that a
    task in them can be scheduled again.

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
