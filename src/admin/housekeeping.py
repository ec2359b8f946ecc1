"""Functions that purge a namespace, or list, retry and discard its dead letters.

They use only commands of Redis 2.4, the store and the strategy. No command touches more than one bounded batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..core.client.protocol import LENIENT
from ..core.client.transactions import Transactions
from ..core.namespace import Namespace
from ..core.schema.quarantine import KINDS, foreign
from ..core.store import crowds, registry, shards
from ..core.store.strategy import Strategy, fitting
from ..core.store.unclaimed import list_of
from ..core.store.values import DeadLetter
from ..core.upkeep import engines

_KEYS_PER_TRIP = 100
_ENTRIES = 250  # of a long list or zset, removed by one command
_LETTERS = 100

Progress = Callable[[int], None]
"""The progress callback: called with how many more items are done."""


def holders(namespace: Namespace) -> dict[str, int]:
    """How many tasks each worker holds, started or not; workers that hold none are left out."""
    held: dict[str, int] = {}
    for some in _chunks(_workers(namespace)):
        counts = _all(namespace, "LLEN", [namespace.keys.of("held", worker) for worker in some])
        held |= {worker: count for worker, count in zip(some, counts, strict=True) if count}
    return held


def key_count(namespace: Namespace) -> int:
    """How many keys ``purge`` will look at: the total of its progress."""
    return sum(len(names) for names in _key_names(namespace))


def purge(namespace: Namespace, progress: Progress = lambda _: None) -> int:
    """Forget the whole namespace: every task in every state, its counters, its strategy. Returns how many tasks.

    The keys from which the names of the others are derived go last, so that an interrupted purge can be run again. A
    task that is scheduled meanwhile may survive, or leave entries without a record, which are harmless.
    """
    for index in _indexes(namespace):
        index.clear(namespace.store.queues())  # before the ready lists: it may add to them
    queue_keys, record_keys, held_keys, singles = _key_names(namespace)
    _forget_reasons(namespace)
    for key in queue_keys:
        _drain(namespace, key)
    tasks = _forget_records(namespace, record_keys, progress)
    for names in (queue_keys, held_keys, singles):
        _delete(namespace, names, progress)
    return tasks


def dead_letters(namespace: Namespace, queue: str | None, limit: int | None = None) -> Iterator[DeadLetter]:
    """At most ``limit`` dead letters of one queue or of all, oldest first within a queue."""
    left = limit
    for name in _queues(namespace, queue):
        offset = 0
        while left is None or left > 0:
            letters = namespace.store.dead(name, offset, _LETTERS if left is None else min(_LETTERS, left))
            if not letters:
                break
            yield from letters
            offset += len(letters)
            if left is not None:
                left -= len(letters)


def dead_count(namespace: Namespace, queue: str | None) -> int:
    """How many dead letters there are in one queue, or in all."""
    depths = namespace.store.depths(_queues(namespace, queue))
    return sum(depth.dead for depth in depths.values())


def retry_dead(namespace: Namespace, queue: str | None, progress: Progress = lambda _: None) -> int:
    """Schedule all dead letters again, due now; returns how many."""
    return _each_dead(namespace, queue, namespace.store.revive, progress)


def discard_dead(namespace: Namespace, queue: str | None, progress: Progress = lambda _: None) -> int:
    """Forget all dead letters for good; returns how many."""
    return _each_dead(namespace, queue, namespace.store.discard, progress)


def _each_dead(namespace: Namespace, queue: str | None, act: Callable[[Sequence[str]], int], progress: Progress) -> int:
    done = 0
    for name, depth in namespace.store.depths(_queues(namespace, queue)).items():
        # Only as many as there are now: a task that is retried, and dies again at once, must not make this endless.
        left, offset = depth.dead, 0
        while left > 0:
            letters = namespace.store.dead(name, offset, min(_LETTERS, left))
            if not letters:
                break
            changed = act([letter.record.id for letter in letters])
            offset += len(letters) - changed  # letters that another process changed meanwhile may still stand in front
            left -= len(letters)
            done += changed
            progress(len(letters))
    return done


def _queues(namespace: Namespace, queue: str | None) -> list[str]:
    return namespace.store.queues() if queue is None else [queue]


def _indexes(namespace: Namespace) -> list[Strategy]:
    """The strategies whose index may have tasks: two during a migration, which this function ends."""
    meta = namespace.keys.plain("meta")
    source: Any = namespace.client.hget(meta, "from")
    if source is None:
        return [namespace.strategy]
    namespace.client.hset(meta, "migrator", "")  # a migration is refused from now on
    old = fitting(registry.find(source.decode(errors=LENIENT)), namespace.strategy.store)
    return [namespace.strategy, namespace.under(old).strategy]


def _key_names(namespace: Namespace) -> tuple[list[str], list[str], list[str], list[str]]:
    """The keys of queues, of records, of workers, and single ones. All names are derived, so no key is searched for."""
    keys = namespace.keys
    return (
        [
            *(key for queue in namespace.store.queues() for key in keys.of_queue(queue)),
            *_keys_of_names(namespace),
            *crowds.keys_of_all(namespace.client, keys),
            *foreign(namespace.client, keys),
        ],
        list(keys.records()),
        [*(keys.of("held", worker) for worker in _workers(namespace)), *engines.keys_of_all(namespace)],
        [*keys.singles(), *keys.journals()],
    )


def _keys_of_names(namespace: Namespace) -> list[Any]:
    """The lists of unclaimed tasks, the wake-up lists of sets of task names, and the quarantine lists.

    Some are bytes, since a task's name in Redis may not be valid text.
    """
    keys, client = namespace.keys, namespace.client
    fields: Any = client.hkeys(keys.plain("meta"))
    wakeups = [keys.of("wakeup", field.decode("utf-8", "replace")) for field in fields if field.startswith(b"names:")]
    lists = [list_of(keys, queue, name) for queue, name in namespace.store.unclaimed()]
    return [*lists, *wakeups, *(keys.of("quarantine", kind) for kind in KINDS)]


def _forget_reasons(namespace: Namespace) -> None:
    """Empty the hash of reasons by its ids: it may be long, and deleting a long hash at once blocks Redis."""
    for queue in namespace.store.queues():
        key = namespace.keys.of("dead", queue)
        while ids := namespace.client.zrange(key, 0, _ENTRIES - 1):
            namespace.client.hdel(namespace.keys.plain("reasons"), *ids)
            namespace.client.zremrangebyrank(key, 0, len(ids) - 1)


def _drain(namespace: Namespace, key: str) -> None:
    """Empty a long list or zset step by step: deleting it at once would block Redis."""
    client = namespace.client
    match client.type(key):
        case b"zset":
            while client.zremrangebyrank(key, 0, _ENTRIES - 1) == _ENTRIES:
                pass
        case b"list":
            while client.llen(key) > _ENTRIES:
                client.ltrim(key, _ENTRIES, -1)


def _forget_records(namespace: Namespace, names: Sequence[str], progress: Progress) -> int:
    """Empty the hashes of records; returns how many records there were."""
    count, transactions = 0, Transactions(namespace.client)
    for some in _chunks(names):
        count += shards.erase(transactions, some)
        progress(len(some))
    return count


def _delete(namespace: Namespace, names: Sequence[str], progress: Progress) -> None:
    for some in _chunks(names):
        _all(namespace, "DEL", some)
        progress(len(some))


def _all(namespace: Namespace, command: str, names: Sequence[str]) -> list[int]:
    """The replies to one command for each of some keys, in one round trip."""
    pipe: Any = namespace.client.pipeline(transaction=False)
    for name in names:
        pipe.execute_command(command, name)
    return list(pipe.execute())


def _workers(namespace: Namespace) -> list[str]:
    raw: Any = namespace.client.zrange(namespace.keys.plain("workers"), 0, -1)
    return [name.decode(errors=LENIENT) for name in raw]


def _chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    return (items[at : at + _KEYS_PER_TRIP] for at in range(0, len(items), _KEYS_PER_TRIP))
