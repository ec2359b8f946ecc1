"""Keys of this namespace that hold another type than dueq's: another program wrote them, or they are damaged.

Redis refuses every step that needs such a key, with everything else that the step does. So dueq renames the key,
unchanged, out of the way and into quarantine, and makes its own key anew from the tasks' records. It looks for such
keys when Redis refuses what a process needs, for example an audit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from ..client.protocol import LENIENT
from ..client.transactions import Transactions
from ..namespace import Namespace
from ..schema import ownership
from ..schema.key_types import FAMILIES, PLAIN
from ..schema.quarantine import KINDS, set_key_apart
from ..schema.record import Record
from ..store import crowds
from ..store.strategy import Entry, TransactionalStrategy
from ..store.unclaimed import list_of
from . import engines

_TRIP = 500
_MOST = 1000  # names of one kind, where they are not known to be few

_OF_QUEUE = ("ready", "wakeup", "leased_before", "dead", "seconds", "sizes")

_Key = str | bytes
_Typed = Iterator[tuple[_Key, str]]


def put_apart(namespace: Namespace) -> Iterator[list[str]]:
    """Put such keys into quarantine, step by step; yields the names of each step's keys, without the prefix.

    Of families with one key per name, it looks at the first thousand. Raises NamespaceTooNew, and StrategyMismatch:
    this dueq cannot judge the keys of others.
    """
    with suppress(ResponseError):  # `meta` may be such a key
        kept = ownership.look(namespace.client, namespace.keys)
        ownership.require(namespace.keys, namespace.strategy.ownership, kept)
    for keys in (_singles, _of_queues, _of_names, _records):  # each finds names in those before
        some = list(keys(namespace))
        for at in range(0, len(some), _TRIP):
            yield list(_put_apart(namespace, some[at : at + _TRIP]))


def put_place_apart(namespace: Namespace, record: Record) -> list[str]:
    """The same for the key that the index has for this scheduled task, if only the task's record leads to that key."""
    index = namespace.strategy
    place = (
        index.place(Entry(record.queue, record.id, record.due_us)) if isinstance(index, TransactionalStrategy) else ""
    )
    return list(_put_apart(namespace, [(place, "list")])) if place else []


def _put_apart(namespace: Namespace, some: list[tuple[_Key, str]]) -> Iterator[str]:
    transactions, prefix = Transactions(namespace.client), namespace.keys.prefix
    kinds = transactions.trip([("TYPE", key) for key, _ in some])
    for (key, wanted), kind in zip(some, kinds, strict=True):
        if kind not in (wanted.encode(), b"none"):
            name = (key if isinstance(key, str) else key.decode(errors=LENIENT)).removeprefix(prefix)
            if set_key_apart(transactions, namespace.keys, name, wanted, namespace.store.time_us()):
                yield name


def _singles(namespace: Namespace) -> _Typed:
    keys = namespace.keys
    yield from (
        (keys.of("quarantine", kind), _type("quarantine")) for kind in KINDS
    )  # first: there the others are noted
    names = sorted(PLAIN, key=lambda name: name != "quarantined")
    yield from ((keys.plain(name), PLAIN[name].type) for name in names)
    yield from ((key, _type("journal")) for key in keys.journals())
    yield keys.heads(namespace.strategy.name), _type("heads")


def _of_queues(namespace: Namespace) -> _Typed:
    keys, strategy = namespace.keys, namespace.strategy.name
    for queue in {*namespace.store.queues(), *namespace.store.busy()}:
        yield from ((keys.of(family, queue), _type(family)) for family in _OF_QUEUE)
        yield keys.timer(strategy, queue), _type("timer")


def _of_names(namespace: Namespace) -> _Typed:
    keys, client = namespace.keys, namespace.client
    registered = {  # a worker that could never hold anything is not in `workers`
        process.name
        for supervisor in engines.supervisors(namespace)
        for process in supervisor.roles.get("worker", engines.Role(0)).processes
    }
    for worker in {*registered, *_members(client.zrange(keys.plain("workers"), 0, _MOST - 1))}:
        yield keys.of("held", worker), _type("held")
        yield keys.bell_of(worker), _type("wakeup")
    for name in _members(client.zrange(keys.plain("tmps"), 0, _MOST - 1)):
        yield keys.of("tmp", name), _type("tmp")
    yield from _buckets(namespace)
    for row in _members(client.zrange(keys.plain("aside"), 0, _MOST - 1)):
        queue, _, name = row.partition(":")
        yield list_of(keys, queue, name), _type("unclaimed")
    for key in crowds.keys_of_all(client, keys):
        yield key, _type("wakeup" if key.startswith(keys.of("wakeup", "")) else "serves")
    for key in engines.keys_of_all(namespace):
        yield key, _type("supervisor")
    for field in _members(client.hkeys(keys.plain("meta"))):
        if field.startswith("names:"):
            yield keys.of("wakeup", field), _type("wakeup")


def _buckets(namespace: Namespace) -> _Typed:
    """The first buckets of each queue, a thousand in all; of many queues, one each."""
    keys, queues, trips = namespace.keys, namespace.store.queues(), Transactions(namespace.client)
    last = max(0, _MOST // max(1, len(queues)) - 1)
    for at in range(0, len(queues), _TRIP):
        some = queues[at : at + _TRIP]
        replies = trips.trip([("ZRANGE", keys.of("seconds", queue), 0, last) for queue in some])
        for queue, seconds in zip(some, replies, strict=True):
            yield from ((keys.of("bucket", f"{queue}:{second}"), _type("bucket")) for second in _members(seconds))


def _records(namespace: Namespace) -> _Typed:
    return ((key, _type("record")) for key in namespace.keys.records())


def _members(raws: Any) -> Iterable[str]:
    return (raw.decode(errors=LENIENT) for raw in raws)


def _type(family: str) -> str:
    return FAMILIES[family].type
