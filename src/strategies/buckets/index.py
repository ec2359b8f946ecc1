"""The index of ``buckets``: lists of ids, the seconds that have a list, and how many tasks are in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...core.client.paging import PAGE, list_pages
from ...core.client.protocol import LENIENT, Command
from ...core.client.transactions import Session
from ...core.clock import US, is_far
from ...core.schema.bounds import MOST_TASKS
from ...core.schema.record import number, readable_record
from ...core.schema.scripts import lua
from ...core.schema.states import State
from ...core.store.strategy import Census, Entry, TransactionalStrategy
from ..zset_index import first_scores
from .bucket import Bucket, Pop, place_of, second_of, void_field

_SKEW_S = 1  # how far apart clocks may be without a task being late by more than the resolution
_COUNTED = 300  # queues counted in one round trip
_STALE = 100  # buckets that a census, or a purge, looks at in one step
_READ = 100  # buckets read in one round trip


class BucketIndex(TransactionalStrategy):
    """How these lists are read and written. ``BucketsStrategy`` adds the dispatch."""

    resolution = 1.0
    lazy = True

    @classmethod
    def timers(cls) -> str:
        return lua(__package__, "buckets")

    def add(self, entries: Sequence[Entry]) -> list[Command]:
        buckets: dict[tuple[str, int], list[str]] = {}
        for entry in entries:
            buckets.setdefault((entry.queue, second_of(entry.due_us)), []).append(entry.id)
        commands: list[Command] = []
        for (queue, second), ids in buckets.items():
            bucket = Bucket(queue, second)
            commands += [
                ("LPUSH", self._key(bucket), *ids),
                ("ZADD", self.keys.of("seconds", queue), second, second),
                *self._resize(bucket, len(ids)),
            ]
        return commands

    def remove(self, entries: Sequence[Entry]) -> list[Command]:
        commands: list[Command] = []
        for entry in entries:
            bucket = Bucket(entry.queue, second_of(entry.due_us))
            commands += [
                *self._resize(bucket, -1),
                ("HINCRBY", self.keys.of("sizes", bucket.queue), void_field(bucket.second), 1),
            ]
        return commands

    def counts(self, session: Session, entry: Entry) -> bool:
        if second_of(entry.due_us) > self.clock.now_us() // US + _SKEW_S:
            return True  # its bucket is not due yet, so no dispatcher has taken it
        key = self._key(Bucket(entry.queue, second_of(entry.due_us)))
        page, rest = session.read([("LRANGE", key, 0, PAGE - 1), ("LINDEX", key, PAGE)])
        return rest is not None or entry.id.encode() in page

    def contains(self, session: Session, entry: Entry) -> bool:
        key = self._key(Bucket(entry.queue, second_of(entry.due_us)))
        [length] = session.read([("LLEN", key)])
        pages = session.read([("LRANGE", key, at, at + PAGE - 1) for at in range(0, length, PAGE)])
        return any(entry.id.encode() in page for page in pages)

    def place(self, entry: Entry) -> str:
        return self._key(Bucket(entry.queue, second_of(entry.due_us)))

    def way_to(self, session: Session, entry: Entry) -> list[Command]:
        seconds, second = self.keys.of("seconds", entry.queue), second_of(entry.due_us)
        [listed] = session.read([("ZSCORE", seconds, second)])
        return [("ZADD", seconds, second, second)] if listed is None else []

    def head(self, entry: Entry) -> Command:
        # Due buckets do not count: a full one keeps a dispatcher awake, and a lingering empty one must not hide this
        # task. Nor does a bucket that is due in a moment by this clock: a dispatcher whose clock is ahead may have
        # emptied it already, and sleep again.
        soon, second = self.clock.now_us() // US + _SKEW_S, second_of(entry.due_us)
        return ("ZRANGEBYSCORE", self.keys.of("seconds", entry.queue), f"({soon}", f"({second}", "LIMIT", 0, 1)

    def leads(self, reply: Any, entry: Entry) -> bool:
        return not reply

    def first_due(self, queues: Sequence[str]) -> list[int | None]:
        firsts = first_scores(self.client, [self.keys.of("seconds", queue) for queue in queues])
        first = min((second * US for second in firsts if second is not None), default=None)
        if first is not None and not is_far(first) and first <= self.clock.now_us():
            return super().first_due(queues)  # the first bucket may be empty, so the census looks at more of them
        return [None if second is None else second * US for second in firsts]

    def census(self, queues: Sequence[str]) -> list[Census]:
        return [one for at in range(0, len(queues), _COUNTED) for one in self._census(queues[at : at + _COUNTED])]

    def _census(self, queues: Sequence[str]) -> list[Census]:
        """The census of some queues, in a few round trips."""
        now = self.clock.now_us() // US
        questions: list[Command] = []
        for queue in queues:
            key = self.keys.of("seconds", queue)
            questions.append(("HGET", self.keys.of("sizes", queue), "all"))
            questions.append(("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, _STALE))
            questions.append(("ZRANGEBYSCORE", key, f"({now}", "+inf", "LIMIT", 0, 1))
        replies = self.transactions.trip(questions)
        buckets = {
            queue: [Bucket(queue, number(raw)) for row in replies[at + 1 : at + 3] for raw in row]
            for queue, at in zip(queues, range(0, len(replies), 3), strict=True)
        }
        every = [bucket for some in buckets.values() for bucket in some]
        lengths = self.transactions.trip([("LLEN", self._key(bucket)) for bucket in every])
        sizes = self.transactions.trip(
            [("HMGET", self.keys.of("sizes", one.queue), one.second, void_field(one.second)) for one in every]
        )
        counted = {
            bucket: (max(0, length - number(void)), number(size))
            for bucket, length, (size, void) in zip(every, lengths, sizes, strict=True)
        }
        return [
            _summed(number(put), {bucket.second: counted[bucket] for bucket in some})
            for put, some in zip(replies[::3], buckets.values(), strict=True)
        ]

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        wanted: dict[str, dict[bytes, Entry]] = {}
        for entry in entries:
            bucket = Bucket(entry.queue, second_of(entry.due_us))
            wanted.setdefault(self._key(bucket), {})[entry.id.encode()] = entry
        found: set[Entry] = set()
        at, keys = 0, list(wanted)
        while keys:
            longer: list[str] = []
            for first in range(0, len(keys), _READ):
                some = keys[first : first + _READ]
                pages = self.transactions.trip([("LRANGE", key, at, at + PAGE - 1) for key in some])
                for key, page in zip(some, pages, strict=True):
                    found.update(wanted[key][raw] for raw in page if raw in wanted[key])
                longer += [key for key, page in zip(some, pages, strict=True) if len(page) == PAGE]
            at, keys = at + PAGE, longer
        return [entry for entry in entries if entry not in found]

    def pages(self, queue: str) -> Iterator[list[str]]:
        for buckets in self._groups(queue):
            keys = [self._key(bucket) for bucket in buckets]
            lists = self.transactions.trip([("LRANGE", key, 0, PAGE - 1) for key in keys])
            yield [raw_id.decode(errors=LENIENT) for ids in lists for raw_id in ids]
            for key, ids in zip(keys, lists, strict=True):
                if len(ids) == PAGE:
                    yield from list_pages(self.client, key)

    def _groups(self, queue: str) -> Iterator[list[Bucket]]:
        """All buckets of a queue, in groups of about a page of tasks."""
        seconds, sizes = self.keys.of("seconds", queue), self.keys.of("sizes", queue)
        after, group = "-inf", list[Bucket]()  # read by score: with ranks, a removal would hide another bucket
        while rows := self.transactions.trip([("ZRANGEBYSCORE", seconds, after, "+inf", "LIMIT", 0, _READ)])[0]:
            voids = [void_field(number(raw)) for raw in rows]
            put, void = self.transactions.trip([("HMGET", sizes, *rows), ("HMGET", sizes, *voids)])
            for raw, *parts in zip(rows, put, void, strict=True):
                size = sum(map(number, parts))
                if group and sum(bucket.length for bucket in group) + size > PAGE:
                    yield group
                    group = []
                group.append(Bucket(queue, number(raw), size))
            yield group
            after, group = f"({number(rows[-1])}", []
        yield group

    def clear(self, queues: Sequence[str]) -> None:
        for queue in queues:
            seconds, sizes = self.keys.of("seconds", queue), self.keys.of("sizes", queue)
            while rows := self.transactions.trip([("ZRANGE", seconds, 0, _STALE - 1)])[0]:
                keys = [self._key(Bucket(queue, number(raw))) for raw in rows]
                voids = [void_field(number(raw)) for raw in rows]
                for raw, void in zip(rows, self.transactions.trip([("HMGET", sizes, *voids)])[0], strict=True):
                    if number(void) > 0:
                        self._empty_void(Bucket(queue, number(raw)))
                self._shorten(keys)
                self.transactions.trip(
                    [*(("DEL", key) for key in keys), ("ZREM", seconds, *rows), ("HDEL", sizes, *rows, *voids)]
                )
            # the guard aborts a dispatcher that is about to subtract an empty bucket's count from the sum
            self.transactions.run(lambda session, sizes=sizes: session.commit([("DEL", sizes), self.touch_guard()]))  # type: ignore[misc]

    def _empty_void(self, bucket: Bucket) -> None:
        """Empty a bucket that has void entries, and forget their counts in ``revoked``."""

        def attempt(session: Session) -> bool:
            session.watch(self.keys.plain("revoked"))
            found = self._void_among(session, [Pop(bucket)] * MOST_TASKS)
            dropped = [command for pop in found if pop.void for command in self._dropped(pop)]
            live = sum(not pop.void for pop in found)
            cut: list[Command] = [("LTRIM", self._key(bucket), 0, -live - 1)] if live else []
            session.commit([*dropped, *cut])
            return bool(found)

        while self.transactions.run(attempt):
            pass

    def _shorten(self, keys: Sequence[str]) -> None:
        """Shorten lists step by step, until one DEL of each is cheap."""
        lengths = self.transactions.trip([("LLEN", key) for key in keys])
        for key, length in zip(keys, lengths, strict=True):
            for _ in range(0, length - PAGE, PAGE):
                self.client.ltrim(key, PAGE, -1)

    def _key(self, bucket: Bucket) -> str:
        return self.keys.of("bucket", f"{bucket.queue}:{bucket.second}")

    def _resize(self, bucket: Bucket, by: int) -> list[Command]:
        sizes = self.keys.of("sizes", bucket.queue)
        return [("HINCRBY", sizes, bucket.second, by), ("HINCRBY", sizes, "all", by)]

    # -- void entries

    def _void_among(self, session: Session, pops: Sequence[Pop]) -> list[Pop]:
        wanted = Counter(pop.bucket for pop in pops)
        rows = session.read([("LRANGE", self._key(bucket), -count, -1) for bucket, count in wanted.items()])
        found = [
            Pop(bucket, raw.decode(errors=LENIENT))
            for bucket, row in zip(wanted, rows, strict=True)
            for raw in reversed(row)
        ]
        if not found:
            return []
        [counts] = session.read([("HMGET", self.keys.plain("revoked"), *(pop.id for pop in found))])
        left = {pop.id: number(raw) for pop, raw in zip(found, counts, strict=True) if raw is not None}
        raws = session.read([("HGET", self.keys.record(task_id), task_id) for task_id in left])
        records = {task_id: readable_record(task_id, raw) for task_id, raw in zip(left, raws, strict=True)}
        judged: list[Pop] = []
        for pop in found:
            record = records.get(pop.id)
            if (
                record
                and record.state == State.SCHEDULED
                and (record.queue, second_of(record.due_us)) == place_of(pop.bucket)
            ):
                records[pop.id] = None  # this entry is the live one; all others of this id here are void
                judged.append(pop)
                continue
            judged.append(replace(pop, void=left.get(pop.id, 0)))
            left[pop.id] = max(0, left.get(pop.id, 0) - 1)
        return judged

    def _dropped(self, pop: Pop) -> list[Command]:
        """Drop a void entry. It must be the last entry of its bucket that is neither moved nor dropped yet."""
        revoked, sizes = self.keys.plain("revoked"), self.keys.of("sizes", pop.bucket.queue)
        return [
            ("LREM", self._key(pop.bucket), -1, pop.id),
            ("HINCRBY", revoked, pop.id, -1) if pop.void > 1 else ("HDEL", revoked, pop.id),
            ("HINCRBY", sizes, void_field(pop.bucket.second), -1),
        ]


def _summed(put: int, seconds: Mapping[int, tuple[int, int]]) -> Census:
    """The census of a queue into whose buckets ``put`` tasks were put. ``seconds`` has, for each bucket that may have
    been drained, how many live entries are left and how many were put there."""
    moved = sum(max(0, size - length) for length, size in seconds.values())
    waiting = [second * US for second, (length, _) in seconds.items() if length]
    return Census(max(0, put - moved), min(waiting, default=None))
