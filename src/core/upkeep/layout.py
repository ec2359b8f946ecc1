"""Brings a namespace that an older dueq wrote to today's layout: keys kept beside the tasks are made anew from them.

The first engine that finds such a namespace does so before its children start, in bounded steps that may be repeated:
an engine that is killed in between leaves the rest to the next. The auditor does the same now and then, since an older
process may have written meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..namespace import Namespace

_LAYOUT = b"2"
_QUEUES = 100  # in one step


def bring_up_to_date(namespace: Namespace) -> None:
    """See above; once it is done, ``meta`` says so, and it costs one command."""
    client: Any = namespace.client
    meta = namespace.keys.plain("meta")
    if client.hget(meta, "layout") == _LAYOUT:
        return
    for _ in mended(namespace, namespace.store.queues()):
        pass
    client.hset(meta, "layout", _LAYOUT)


def mended(namespace: Namespace, queues: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Repair what is kept of ``queues``, step by step.

    Yields, for each step, the queues that had work and were not marked busy, and those whose first due time was not
    known.
    """
    for at in range(0, len(queues), _QUEUES):
        some = queues[at : at + _QUEUES]
        yield namespace.store.mend_queues(some), namespace.strategy.mend(some)
