"""Reads and repairs that both stores do in the same way: they share one layout, and Redis 2.4 has these commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis

from ..client.paging import zset_pages
from ..client.protocol import LENIENT, Command
from ..client.transactions import Transactions
from ..clock import US, Clock
from ..schema.bounds import steps
from ..schema.helper_keys import repair
from ..schema.keys import Keys
from ..schema.quarantine import set_apart
from ..schema.record import Record, decode_record, number, readable_record
from ..schema.wakeups import wake_dispatcher
from . import shards
from .again import decode_again
from .base import Store
from .names import KnownNames, outdated
from .unclaimed import list_of, pairs
from .values import ALIVE_S, DeadLetter, Depth

_TRIP = 100  # commands in one round trip
_COUNTS = 1000  # the same for commands that only return the length of a key


_COUNTED = ("scheduled", "cancelled")  # what producers do


class KeyedStore(Store):
    """The half of ``Store`` that is the same in both stores, by plain commands of Redis 2.4."""

    def __init__(self, client: redis.Redis, keys: Keys, clock: Clock) -> None:
        self._trips = Transactions(client, repair(keys))
        self._client: Any = client  # redis-py types every reply as text or bytes; ours are bytes
        self._keys, self._clock, self._names = keys, clock, KnownNames(keys)

    def knows(self, names: Iterable[str] | None) -> None:
        self._names.learn(names)
        if self._names.field:
            self._publish_names()

    def _publish_names(self) -> None:
        self._client.execute_command("HSET", self._keys.plain("meta"), self._names.field, self._names.text)

    def unclaimed(self) -> dict[tuple[str, str], int]:
        found = pairs(self._client.zrange(self._keys.plain("aside"), 0, -1))
        pipe = self._client.pipeline(transaction=False)
        for queue, name in found:
            pipe.zcard(list_of(self._keys, queue, name))
        return dict(zip(found, pipe.execute() if found else [], strict=True))

    def _wakeup_keys(self, queues: Sequence[str]) -> list[str]:
        """The keys that receive a wake-up when something is ready in one of ``queues``."""
        return [*(self._keys.of("wakeup", queue) for queue in queues), *self._names.wakeup_keys()]

    def alive(self, supervisor: str) -> bool:
        until = self.time_us() + round(ALIVE_S * US)
        return bool(self._client.execute_command("ZADD", self._keys.plain("supervisors"), until, supervisor))

    def time_us(self) -> int:
        return self._clock.now_us()

    def record(self, task_id: str) -> Record | None:
        raw = self._client.hget(self._keys.record(task_id), task_id)
        return None if raw is None else decode_record(task_id, raw)

    def kept_again(self, task_id: str) -> Record | None:
        return decode_again(task_id, self._client.hget(self._keys.plain("again"), task_id))

    def dead(self, queue: str, offset: int, limit: int) -> list[DeadLetter]:
        rows = self._client.zrange(self._keys.of("dead", queue), offset, offset + limit - 1, withscores=True)
        pipe = self._client.pipeline(transaction=False)
        for raw_id, _ in rows:
            pipe.hget(self._keys.record(raw_id.decode(errors=LENIENT)), raw_id)
            pipe.hget(self._keys.plain("reasons"), raw_id)
        replies = pipe.execute() if rows else []
        letters = []
        for at, (raw_id, died) in enumerate(rows):
            raw, reason = replies[2 * at], replies[2 * at + 1]
            record = readable_record(raw_id.decode(errors=LENIENT), raw)
            if record is not None:  # else it is damaged, or was revived or discarded since the first command
                letters.append(DeadLetter(record, int(died), (reason or b"").decode("utf-8", "replace")))
        return letters

    def queues(self) -> list[str]:
        return sorted(name.decode(errors=LENIENT) for name in self._client.smembers(self._keys.plain("queues")))

    def busy(self) -> list[str]:
        return sorted({queue for page in zset_pages(self._client, self._keys.plain("busy")) for queue in page})

    def oldest_ready(self) -> dict[str, int]:
        due: dict[str, int] = {}
        queues = self.busy()
        for at in range(0, len(queues), _TRIP):
            some = queues[at : at + _TRIP]
            pipe = self._client.pipeline(transaction=False)
            for queue in some:
                pipe.lindex(self._keys.of("ready", queue), -1)
            heads = {
                queue: raw.decode(errors=LENIENT)
                for queue, raw in zip(some, pipe.execute(), strict=True)
                if raw is not None
            }
            for task_id in heads.values():
                pipe.hget(self._keys.record(task_id), task_id)
            for (queue, task_id), raw in zip(heads.items(), pipe.execute(), strict=True):
                record = readable_record(task_id, raw)
                if record is not None:
                    due[queue] = record.due_us
        return due

    def leases(self) -> Mapping[str, int]:
        out = {lease for page in zset_pages(self._client, self._keys.plain("leased")) for lease in page}
        return Counter(lease.partition(":")[0] for lease in out)

    def depth(self, queue: str) -> Depth:
        ready = self._keys.of("ready", queue)
        pipe = self._client.pipeline(transaction=False)
        pipe.llen(ready).zcard(self._keys.of("dead", queue)).lindex(ready, -1)
        waiting, dead, oldest = pipe.execute()
        record = None
        if oldest is not None:
            # a record that this version cannot read must not stop the count
            record = readable_record(
                oldest.decode(errors=LENIENT),
                self._client.hget(self._keys.record(oldest.decode(errors=LENIENT)), oldest),
            )
        return Depth(waiting, self.leases().get(queue, 0), dead, record.due_us if record else None)

    def depths(self, queues: Sequence[str]) -> dict[str, Depth]:
        leases, oldest, busy = self.leases(), self.oldest_ready(), set(self.busy())
        ready = self._counted("LLEN", "ready", [queue for queue in queues if queue in busy])
        dead = self._counted("ZCARD", "dead", queues)
        return {
            queue: Depth(ready.get(queue, 0), leases.get(queue, 0), dead[queue], oldest.get(queue)) for queue in queues
        }

    def _counted(self, command: str, family: str, queues: Sequence[str]) -> dict[str, int]:
        """How long one key of each queue is."""
        counts: dict[str, int] = {}
        for at in range(0, len(queues), _COUNTS):
            some = queues[at : at + _COUNTS]
            commands: list[Command] = [(command, self._keys.of(family, queue)) for queue in some]
            counts |= zip(some, self._trips.trip(commands), strict=True)
        return counts

    def producer_counts(self, queues: Sequence[str] | None = None) -> dict[tuple[str, str], int]:
        names = [(what, queue) for queue in (self.queues() if queues is None else queues) for what in _COUNTED]
        pages = [*steps(names, lambda name: 0)]
        pipe = self._client.pipeline(transaction=False)
        for page in pages:
            pipe.hmget(self._keys.plain("stats"), [f"{what}:{queue}" for what, queue in page])
        counts = [raw for raws in (pipe.execute() if pages else []) for raw in raws]
        return {name: number(raw) for name, raw in zip(names, counts, strict=True) if raw is not None}

    def shards(self, keys: Sequence[str]) -> dict[str, bytes]:
        return shards.read(self._trips, keys)

    def wake_dispatcher(self) -> None:
        self._trips.trip(wake_dispatcher(self._keys))

    # -- for the auditor

    def raws(self, ids: Sequence[str]) -> dict[str, bytes | None]:
        pipe = self._client.pipeline(transaction=False)
        for task_id in ids:
            pipe.hget(self._keys.record(task_id), task_id)
        return dict(zip(ids, pipe.execute() if ids else [], strict=True))

    def void_entries(self, most: int) -> dict[str, int]:
        key = self._keys.plain("revoked")
        notes = self._client.hgetall(key) if 0 < self._client.hlen(key) <= most else {}
        return {task_id.decode(errors=LENIENT): number(count) for task_id, count in notes.items()}

    def waiting_again(self, most: int) -> list[str]:
        key = self._keys.plain("again")
        ids = self._client.hkeys(key) if 0 < self._client.hlen(key) <= most else []
        return [task_id.decode(errors=LENIENT) for task_id in ids]

    def list_queue(self, queue: str) -> bool:
        return bool(self._client.sadd(self._keys.plain("queues"), queue))

    def set_apart(self, task_id: str, raw: bytes) -> bool:
        place = self._keys.record(task_id).removeprefix(self._keys.prefix)
        return set_apart(self._trips, self._keys, place, task_id, raw, self.time_us())

    def mend_names(self) -> None:
        meta = self._keys.plain("meta")
        pipe = self._client.pipeline(transaction=False)
        for command in outdated(self._keys, self._client.hgetall(meta)):
            pipe.execute_command(*command)
        pipe.execute()
        if self._client.exists(self._keys.plain("aside")):
            self._client.hsetnx(meta, "aside", "1")
