"""The places of tasks: everything in a namespace, beside the records, that says where a task is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..client.paging import list_pages, zset_pages
from ..client.protocol import LENIENT
from ..namespace import Namespace
from ..schema.keys import Keys
from ..schema.record import Record, task_of
from ..schema.states import State
from ..store.unclaimed import list_of

_WORKERS = 20  # whose held lists are read in one round trip


class Page(NamedTuple):
    """Some ids that are in one place. A mark, which is a place with an id, says that this task is there."""

    place: str
    ids: list[str]


def marks(record: Record) -> tuple[str, ...]:
    """The marks of this record, of which at least one must be found; none for a state that is not known."""
    match record.state:
        case State.SCHEDULED:  # a worker without scripts takes a task before it claims it
            return (f"{_waiting(record.queue)}{record.id}", f"{_TAKEN}{record.id}")
        case State.HELD:
            return (f"{_held(record.worker)}{record.id}",)
        case State.LEASED:  # its worker extends its lease, or else the lease runs out
            return (f"{_held(record.worker)}{record.id}", f"{_LEASED}{Keys.lease(record.queue, record.id)}")
        case State.UNCLAIMED:
            return (f"{_UNCLAIMED}{record.queue}:{task_of(record.body)} {record.id}",)
        case State.DEAD:
            return (f"{_dead(record.queue)}{record.id}",)


def pages(namespace: Namespace, queues: Iterable[str]) -> Iterator[list[Page]]:
    """All places of ``queues``, and all that workers hold; about a thousand ids and a round trip at a time.

    The places come in the order in which tasks go through them, so that a task on its way is on one page at least.
    """
    client, keys, queues = namespace.client, namespace.keys, list(queues)
    for queue in queues:
        for ids in namespace.strategy.pages(queue):
            yield [Page(_waiting(queue), ids)]
    for queue in queues:
        for ids in list_pages(client, keys.of("ready", queue)):
            yield [Page(_waiting(queue), ids)]
    for queue, name in namespace.store.unclaimed():
        for ids in zset_pages(client, list_of(keys, queue, name)):
            yield [Page(f"{_UNCLAIMED}{queue}:{name} ", ids)]
    # a worker that is not listed could fall silent unnoticed: what it holds is in no place
    for workers in zset_pages(client, keys.plain("workers")):
        for at in range(0, len(workers), _WORKERS):
            yield _in_hand(namespace, workers[at : at + _WORKERS])
    for leases in zset_pages(client, keys.plain("leased")):
        yield [Page(_LEASED, leases)]
    for queue in queues:
        for ids in zset_pages(client, keys.of("dead", queue)):
            yield [Page(_dead(queue), ids)]


def entries(found: Iterable[Page]) -> Iterator[str]:
    """The ids among ``found`` that are, or will be, entries of ready lists or were taken from there."""
    for page in found:
        if page.place.startswith((_WAITING, _TAKEN)):
            yield from page.ids


def _in_hand(namespace: Namespace, workers: list[str]) -> list[Page]:
    pipe: Any = namespace.client.pipeline(transaction=False)
    for worker in workers:
        pipe.lrange(namespace.keys.of("held", worker), 0, -1)
    found = []
    for worker, raws in zip(workers, pipe.execute(), strict=True):
        ids = [raw.decode(errors=LENIENT) for raw in raws]
        found += [Page(_held(worker), ids), Page(_TAKEN, ids)]
    return found


# beginnings of marks, which no two places share: neither names nor ids hold a space

_WAITING, _TAKEN, _LEASED, _UNCLAIMED = "waiting ", "taken ", "leased ", "unclaimed "


def _waiting(queue: str) -> str:
    return f"{_WAITING}{queue} "


def _held(worker: str) -> str:
    return f"held {worker} "


def _dead(queue: str) -> str:
    return f"dead {queue} "
