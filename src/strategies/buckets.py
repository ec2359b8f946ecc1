"""``buckets``: a list per queue and second, and a zset of the seconds that have one.

A task goes into the bucket of its due time rounded up to the second, so it is never early. Due buckets are drained by
RPOPLPUSH straight into the ready list: each is one step, so dispatchers never collide and a task is never in nobody's
hands. The pops of a batch stand in one MULTI that watches nothing of theirs, only so that the guard is touched with
them.

A bucket that is empty stays in the zset of seconds for a moment, since clocks differ and a producer may still push into
it. It is removed only if it is empty and stays so: it is watched, and a push adds the second to the zset again.

Nothing is searched for in a bucket, however many tasks are due in that second: what is cancelled or gets another time
stays there as a void entry (the store's ``revoked`` counts them by id). A dispatcher that comes to it drops it, a
bounded number a step; one that it did not see is dropped by the step that claims.

How many tasks a queue has is kept in a hash: ``sizes`` has how many were put into each bucket and not withdrawn, their
sum, and how many void entries each bucket has. A bucket that is being drained still counts whole there, so what has
left it is taken off when the sum is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from ..core.client.paging import PAGE, list_pages
from ..core.client.protocol import LENIENT, Command
from ..core.client.transactions import Aborted, Session
from ..core.clock import US, Clock
from ..core.schema import ownership
from ..core.schema.bounds import MOST_TASKS
from ..core.schema.keys import Keys
from ..core.schema.record import number, readable_record
from ..core.schema.scripts import lua
from ..core.schema.states import State
from ..core.store.crowds import crowds_question, wakeups_for
from ..core.store.strategy import Census, Dispatched, Entry, Moved, Needs, TransactionalStrategy
from .due_reader import Turns, bounded
from .zset_index import first_scores

_LINGER_S = 2
_SKEW_S = 1  # how far apart clocks may be without a task being late by more than the resolution
_SECONDS = 20  # due buckets of a queue that one step looks at
_LATER = 10  # buckets of a queue, not due yet, of which the first that is not empty is the next
_COUNTED = 300  # queues counted in one round trip
_STALE = 100  # buckets that a census, or a purge, looks at in one step
_READ = 100  # buckets read in one round trip


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A bucket that exists, or did: its queue, its second, and how many tasks are in it."""

    queue: str
    second: int
    length: int = 0


@dataclass(frozen=True, slots=True)
class _Look:
    """What a dispatcher sees: due buckets, the next ones, whether there may be others that must not wait, whether any
    entry is void, and the sets of queues that workers serve (store/crowds.py)."""

    due: list[_Bucket]
    later: list[_Bucket]
    more: bool
    void: bool
    crowds: bytes | None


@dataclass(frozen=True, slots=True)
class _Pop:
    """An entry to take out of a bucket, from its right end: its id, and how many entries of that id are void, if it is
    known that any is."""

    bucket: _Bucket
    id: str = ""
    void: int = 0


def _second(due_us: int) -> int:
    return -(-due_us // US)


class BucketsStrategy(TransactionalStrategy):
    """Dispatchers never collide; due times are rounded up to the second."""

    name = "buckets"
    summary = "a list per second; up to a second late, runs on Redis 2.4, any number of dispatchers"
    needs = Needs(version=(2, 4))
    resolution = 1.0
    lazy = True

    @classmethod
    def timers(cls) -> str:
        return lua(__package__, "buckets")

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock) -> None:
        super().__init__(client, keys, owner, clock)
        self._queues: list[str] = []
        self._turns = Turns()

    # -- dispatch

    def dispatch(self, limit: int) -> Dispatched:
        now = self.clock.now_us()
        look, popped, moved = self.transactions.run(lambda session: self._move(session, now, limit))
        # an empty bucket may have hidden an earlier task from its producer, who then woke nobody: look once more
        hiding = not self._clean(look, now) or any(not bucket.length for bucket in look.later)
        left = hiding or look.more or sum(bucket.length for bucket in look.due) > popped
        nearest = min((bucket.second for bucket in look.later if bucket.length), default=None)
        next_in = 0.0 if left else None if nearest is None else max(0, nearest * US - now) / US
        return Dispatched(self._lateness(moved, now), next_in, now_us=now)

    def recover(self, dispatcher: str = "", *, silent_for: float = 0.0) -> int:
        return 0  # tasks are moved in one step each

    def _move(self, session: Session, now_us: int, limit: int) -> tuple[_Look, int, list[tuple[str, str]]]:
        """Move up to about ``limit`` tasks to READY; returns what was seen, how many entries were taken out of buckets,
        and the queue and id of each task moved."""
        session.watch(self.keys.plain("meta"))
        look = self._look(session, now_us // US)
        pops = self._pops(look.due, bounded(limit, len(self._queues))[0])
        if look.void:
            pops = self._judged(session, pops)
        if not pops:
            return look, 0, []
        live = [pop for pop in pops if not pop.void]
        moves: list[Command] = [
            ("RPOPLPUSH", self._key(pop.bucket), self.keys.of("ready", pop.bucket.queue)) for pop in live
        ]
        void = [command for pop in pops if pop.void for command in self._dropped(pop)]
        tasks = Counter(pop.bucket.queue for pop in live)
        wakeups = wakeups_for(session, self.keys, tasks, look.crowds)
        done, _ = session.commit([*void, *moves, *wakeups, self.touch_guard()])
        moved = [
            (pop.bucket.queue, raw.decode(errors=LENIENT))
            for pop, raw in zip(live, done[len(void) :], strict=False)
            if raw is not None
        ]
        return look, len(moved) + len(pops) - len(live), moved

    def _judged(self, session: Session, pops: Sequence[_Pop]) -> list[_Pop]:
        """``pops`` by what is there now: those of void entries come to nothing but that. If there are any, nobody else
        may take from these buckets, nor change what is void, until they are done."""
        found = self._void_among(session, pops)
        if any(pop.void for pop in found):
            session.watch(self.keys.plain("revoked"), *{self._key(pop.bucket) for pop in pops})
            found = self._void_among(session, pops)
        return found

    def _void_among(self, session: Session, pops: Sequence[_Pop]) -> list[_Pop]:
        wanted = Counter(pop.bucket for pop in pops)
        rows = session.read([("LRANGE", self._key(bucket), -count, -1) for bucket, count in wanted.items()])
        found = [
            _Pop(bucket, raw.decode(errors=LENIENT))
            for bucket, row in zip(wanted, rows, strict=True)
            for raw in reversed(row)
        ]
        if not found:
            return []
        [counts] = session.read([("HMGET", self.keys.plain("revoked"), *(pop.id for pop in found))])
        left = {pop.id: number(raw) for pop, raw in zip(found, counts, strict=True) if raw is not None}
        raws = session.read([("HGET", self.keys.record(task_id), task_id) for task_id in left])
        records = {task_id: readable_record(task_id, raw) for task_id, raw in zip(left, raws, strict=True)}
        judged: list[_Pop] = []
        for pop in found:
            record = records.get(pop.id)
            if (
                record
                and record.state == State.SCHEDULED
                and (record.queue, _second(record.due_us)) == _place(pop.bucket)
            ):
                records[pop.id] = None  # this is the entry that is not void; of several here, all others are
                judged.append(pop)
                continue
            judged.append(replace(pop, void=left.get(pop.id, 0)))
            left[pop.id] = max(0, left.get(pop.id, 0) - 1)
        return judged

    def _dropped(self, pop: _Pop) -> list[Command]:
        """Drop a void entry: it is the last of its bucket that is neither moved nor dropped yet."""
        revoked, sizes = self.keys.plain("revoked"), self.keys.of("sizes", pop.bucket.queue)
        return [
            ("LREM", self._key(pop.bucket), -1, pop.id),
            ("HINCRBY", revoked, pop.id, -1) if pop.void > 1 else ("HDEL", revoked, pop.id),
            ("HINCRBY", sizes, _void(pop.bucket.second), -1),
        ]

    def _look(self, session: Session, second: int) -> _Look:
        reads = self._replies(session, second)
        while reads is None:  # there are queues that it did not know of
            reads = self._replies(session, second)
        void, crowds, *replies = reads
        names = [queue for queue in self._queues for _ in range(2)]
        found = [_Bucket(queue, number(raw)) for queue, rows in zip(names, replies, strict=True) for raw in rows]
        lengths = session.read([("LLEN", self._key(bucket)) for bucket in found])
        buckets = [replace(bucket, length=length) for bucket, length in zip(found, lengths, strict=True)]
        due, later = [one for one in buckets if one.second <= second], [one for one in buckets if one.second > second]
        # where all that was looked at is empty, what comes after it is not known yet
        full = {queue for queue, rows in zip(names[::2], replies[1::2], strict=True) if len(rows) == _LATER}
        hidden = full - {bucket.queue for bucket in later if bucket.length}
        more = bool(hidden) or any(len(rows) == _SECONDS for rows in replies[::2])
        return _Look(due, later, more, bool(void), crowds)

    def _replies(self, session: Session, second: int) -> list[Any] | None:
        """Whether any entry is void; the sets of queues that workers serve; per queue, its due seconds and its next
        ones. Raises StrategyMismatch."""
        questions: list[Command] = [ownership.question(self.keys), ("SMEMBERS", self.keys.plain("queues"))]
        questions += [("EXISTS", self.keys.plain("revoked")), crowds_question(self.keys)]
        for queue in self._queues:
            key = self.keys.of("seconds", queue)
            questions.append(("ZRANGEBYSCORE", key, "-inf", second, "LIMIT", 0, _SECONDS))
            questions.append(("ZRANGEBYSCORE", key, f"({second}", "+inf", "LIMIT", 0, _LATER))
        kept, names, *replies = session.read(questions)
        ownership.require(self.keys, self.ownership, kept, settled=True)
        known, self._queues = self._queues, sorted(name.decode(errors=LENIENT) for name in names)
        return replies if known == self._queues else None

    def _pops(self, due: Sequence[_Bucket], limit: int) -> list[_Pop]:
        """Pops of about ``limit`` tasks."""
        waiting: dict[str, int] = {}
        for bucket in due:
            waiting[bucket.queue] = waiting.get(bucket.queue, 0) + bucket.length
        shares = self._turns.shares(limit, {queue: tasks for queue, tasks in waiting.items() if tasks})
        pops: list[_Pop] = []
        for bucket in due:
            take = min(bucket.length, shares.get(bucket.queue, 0))
            if take:
                shares[bucket.queue] -= take
                pops += [_Pop(bucket)] * take
        return pops

    def _lateness(self, moved: Sequence[tuple[str, str]], now_us: int) -> list[Moved]:
        """A bucket knows the second only: the records know when exactly each task was due."""
        raws = self.transactions.trip([("HGET", self.keys.record(task_id), task_id) for _, task_id in moved])
        records = [readable_record(task_id, raw) for (_, task_id), raw in zip(moved, raws, strict=True)]
        return [
            Moved(queue, max(0, now_us - record.due_us) / US if record is not None else 0.0, task_id)
            for (queue, task_id), record in zip(moved, records, strict=True)
        ]

    def _clean(self, look: _Look, now_us: int) -> bool:
        """Remove buckets that are empty: not those that were due just now, into which somebody may be pushing.

        False if somebody pushes into one, or cleans, too: then it is to be looked at again.
        """
        old = [bucket for bucket in look.due if bucket.second <= now_us // US - _LINGER_S]
        stale = [bucket for bucket in (*old, *look.later) if not bucket.length]
        for queue in {bucket.queue for bucket in stale}:
            some = [bucket for bucket in stale if bucket.queue == queue]
            try:
                self.transactions.once(lambda session, queue=queue, some=some: self._remove(session, queue, some))  # type: ignore[misc]
            except Aborted:
                return False
        return True

    def _remove(self, session: Session, queue: str, stale: Sequence[_Bucket]) -> None:
        seconds, sizes = self.keys.of("seconds", queue), self.keys.of("sizes", queue)
        # the guard keeps two cleaners from taking the same size off the sum
        session.watch(self.keys.plain("guard"), *(self._key(bucket) for bucket in stale))
        lengths = session.read([("LLEN", self._key(bucket)) for bucket in stale])
        empty = [bucket.second for bucket, length in zip(stale, lengths, strict=True) if not length]
        if not empty:
            return
        fields: tuple[str | int, ...] = (*empty, "all")
        put = session.read([("HGET", sizes, name) for name in fields])
        *counts, total = [number(size) for size in put]
        commands: list[Command] = [("ZREM", seconds, *empty), ("HDEL", sizes, *empty, *map(_void, empty))]
        if total == sum(counts):
            session.watch(sizes)  # the last of this queue: nothing may be left, and nobody may be adding
            [all_] = session.read([("HGET", sizes, "all")])
            commands.append(("HDEL", sizes, "all") if number(all_) == total else ("HINCRBY", sizes, "all", -total))
        else:
            commands.append(("HINCRBY", sizes, "all", -sum(counts)))
        session.commit([*commands, self.touch_guard()])

    # -- the index

    def add(self, entries: Sequence[Entry]) -> list[Command]:
        buckets: dict[tuple[str, int], list[str]] = {}
        for entry in entries:
            buckets.setdefault((entry.queue, _second(entry.due_us)), []).append(entry.id)
        commands: list[Command] = []
        for (queue, second), ids in buckets.items():
            bucket = _Bucket(queue, second)
            commands += [
                ("LPUSH", self._key(bucket), *ids),
                ("ZADD", self.keys.of("seconds", queue), second, second),
                *self._resize(bucket, len(ids)),
            ]
        return commands

    def remove(self, entries: Sequence[Entry]) -> list[Command]:
        commands: list[Command] = []
        for entry in entries:
            bucket = _Bucket(entry.queue, _second(entry.due_us))
            commands += [
                *self._resize(bucket, -1),
                ("HINCRBY", self.keys.of("sizes", bucket.queue), _void(bucket.second), 1),
            ]
        return commands

    def counts(self, session: Session, entry: Entry) -> bool:
        if _second(entry.due_us) > self.clock.now_us() // US + _SKEW_S:
            return True  # nobody has come to it
        key = self._key(_Bucket(entry.queue, _second(entry.due_us)))
        page, rest = session.read([("LRANGE", key, 0, PAGE - 1), ("LINDEX", key, PAGE)])
        return rest is not None or entry.id.encode() in page

    def contains(self, session: Session, entry: Entry) -> bool:
        key = self._key(_Bucket(entry.queue, _second(entry.due_us)))
        [length] = session.read([("LLEN", key)])
        pages = session.read([("LRANGE", key, at, at + PAGE - 1) for at in range(0, length, PAGE)])
        return any(entry.id.encode() in page for page in pages)

    def place(self, entry: Entry) -> str:
        return self._key(_Bucket(entry.queue, _second(entry.due_us)))

    def way_to(self, session: Session, entry: Entry) -> list[Command]:
        seconds, second = self.keys.of("seconds", entry.queue), _second(entry.due_us)
        [listed] = session.read([("ZSCORE", seconds, second)])
        return [("ZADD", seconds, second, second)] if listed is None else []

    def head(self, entry: Entry) -> Command:
        # what is due already keeps a dispatcher awake; empty buckets that linger must not keep it asleep; and one that
        # is due in a moment here may have been emptied there, by a dispatcher that sleeps again
        soon, second = self.clock.now_us() // US + _SKEW_S, _second(entry.due_us)
        return ("ZRANGEBYSCORE", self.keys.of("seconds", entry.queue), f"({soon}", f"({second}", "LIMIT", 0, 1)

    def leads(self, reply: Any, entry: Entry) -> bool:
        return not reply

    def first_due(self, queues: Sequence[str]) -> list[int | None]:
        firsts = first_scores(self.client, [self.keys.of("seconds", queue) for queue in queues])
        if any(second is not None and second * US <= self.clock.now_us() for second in firsts):
            return super().first_due(queues)  # the first bucket may be empty, and those after it not
        return [None if second is None else second * US for second in firsts]

    def census(self, queues: Sequence[str]) -> list[Census]:
        return [one for at in range(0, len(queues), _COUNTED) for one in self._census(queues[at : at + _COUNTED])]

    def _census(self, queues: Sequence[str]) -> list[Census]:
        """Of some queues, in two round trips."""
        now = self.clock.now_us() // US
        questions: list[Command] = []
        for queue in queues:
            key = self.keys.of("seconds", queue)
            questions.append(("HGET", self.keys.of("sizes", queue), "all"))
            questions.append(("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, _STALE))
            questions.append(("ZRANGEBYSCORE", key, f"({now}", "+inf", "LIMIT", 0, 1))
        replies = self.transactions.trip(questions)
        buckets = {
            queue: [_Bucket(queue, number(raw)) for row in replies[at + 1 : at + 3] for raw in row]
            for queue, at in zip(queues, range(0, len(replies), 3), strict=True)
        }
        every = [bucket for some in buckets.values() for bucket in some]
        lengths = self.transactions.trip([("LLEN", self._key(bucket)) for bucket in every])
        sizes = self.transactions.trip(
            [("HMGET", self.keys.of("sizes", one.queue), one.second, _void(one.second)) for one in every]
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
            bucket = _Bucket(entry.queue, _second(entry.due_us))
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

    def _groups(self, queue: str) -> Iterator[list[_Bucket]]:
        """All buckets of a queue, at a time as many as have about a page of tasks."""
        seconds, sizes = self.keys.of("seconds", queue), self.keys.of("sizes", queue)
        after, group = "-inf", list[_Bucket]()  # by their times: the removal of one must not hide another
        while rows := self.transactions.trip([("ZRANGEBYSCORE", seconds, after, "+inf", "LIMIT", 0, _READ)])[0]:
            voids = [_void(number(raw)) for raw in rows]
            put, void = self.transactions.trip([("HMGET", sizes, *rows), ("HMGET", sizes, *voids)])
            for raw, *parts in zip(rows, put, void, strict=True):
                size = sum(map(number, parts))
                if group and sum(bucket.length for bucket in group) + size > PAGE:
                    yield group
                    group = []
                group.append(_Bucket(queue, number(raw), size))
            yield group
            after, group = f"({number(rows[-1])}", []
        yield group

    def clear(self, queues: Sequence[str]) -> None:
        for queue in queues:
            seconds, sizes = self.keys.of("seconds", queue), self.keys.of("sizes", queue)
            while rows := self.transactions.trip([("ZRANGE", seconds, 0, _STALE - 1)])[0]:
                keys = [self._key(_Bucket(queue, number(raw))) for raw in rows]
                voids = [_void(number(raw)) for raw in rows]
                for raw, void in zip(rows, self.transactions.trip([("HMGET", sizes, *voids)])[0], strict=True):
                    if number(void) > 0:
                        self._forget_void(_Bucket(queue, number(raw)))
                self._shorten(keys)
                self.transactions.trip(
                    [*(("DEL", key) for key in keys), ("ZREM", seconds, *rows), ("HDEL", sizes, *rows, *voids)]
                )
            # with the guard: a step that is about to take an empty bucket's count off the sum must look again
            self.transactions.run(lambda session, sizes=sizes: session.commit([("DEL", sizes), self.touch_guard()]))  # type: ignore[misc]

    def _forget_void(self, bucket: _Bucket) -> None:
        """Empty a bucket that has void entries: they are noted no more."""

        def attempt(session: Session) -> bool:
            session.watch(self.keys.plain("revoked"))
            found = self._void_among(session, [_Pop(bucket)] * MOST_TASKS)
            dropped = [command for pop in found if pop.void for command in self._dropped(pop)]
            live = sum(not pop.void for pop in found)
            cut: list[Command] = [("LTRIM", self._key(bucket), 0, -live - 1)] if live else []
            session.commit([*dropped, *cut])
            return bool(found)

        while self.transactions.run(attempt):
            pass

    def _shorten(self, keys: Sequence[str]) -> None:
        """Cut lists down to what can be deleted at once."""
        lengths = self.transactions.trip([("LLEN", key) for key in keys])
        for key, length in zip(keys, lengths, strict=True):
            for _ in range(0, length - PAGE, PAGE):
                self.client.ltrim(key, PAGE, -1)

    def _key(self, bucket: _Bucket) -> str:
        return self.keys.of("bucket", f"{bucket.queue}:{bucket.second}")

    def _resize(self, bucket: _Bucket, by: int) -> list[Command]:
        sizes = self.keys.of("sizes", bucket.queue)
        return [("HINCRBY", sizes, bucket.second, by), ("HINCRBY", sizes, "all", by)]


def _place(bucket: _Bucket) -> tuple[str, int]:
    return bucket.queue, bucket.second


def _void(second: int) -> str:
    """The field of ``sizes`` that has how many void entries are in the bucket of ``second``."""
    return f"void:{second}"


def _summed(put: int, seconds: Mapping[int, tuple[int, int]]) -> Census:
    """From how many tasks are in a queue's buckets, or were moved from there, and how many of those of some seconds are
    there still."""
    gone = sum(max(0, size - length) for length, size in seconds.values())
    waiting = [second * US for second, (length, _) in seconds.items() if length]
    return Census(max(0, put - gone), min(waiting, default=None))
