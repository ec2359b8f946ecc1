"""``buckets``: a list per queue and second (a bucket), and a zset of the seconds that have a bucket.

A task goes into the bucket of its due time rounded up to the second, so it is never early. Dispatchers drain due
buckets by RPOPLPUSH straight into the ready list. Each pop is one step, so dispatchers never collide, and a task is
always in one of the two lists. The pops of a batch stand in one MULTI, so that the guard is touched with them; the
MULTI watches no bucket.

An empty bucket stays in the zset of seconds for a moment, since clocks differ and a producer may still push into it. It
is removed only if it is empty and stays so: it is watched, and a push adds the second to the zset again.

A bucket is never searched, however many tasks are due in that second. A task that is cancelled or gets another time
leaves a void entry there (the store's ``revoked`` counts them by id). A dispatcher that comes to a void entry drops it,
a bounded number of them a step. An entry that it took for a live one is dropped by the step that claims it.

The hash ``sizes`` counts the tasks of a queue. It has how many were put into each bucket and not withdrawn, their sum,
and how many void entries each bucket has. A bucket that is being drained still counts whole there, so a reader of the
sum subtracts what has left it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import redis

from ...core.client.protocol import LENIENT, Command
from ...core.client.transactions import Aborted, Session
from ...core.clock import US, Clock
from ...core.schema import ownership
from ...core.schema.keys import Keys
from ...core.schema.record import number, readable_record
from ...core.store.crowds import wakeups_for
from ...core.store.strategy import Dispatched, Moved, Needs
from ..due_reader import Turns, bounded
from .bucket import Bucket, Pop, void_field
from .index import BucketIndex

_LINGER_S = 2
_JUDGED = 4  # attempts that look for void entries
_SECONDS = 20  # due buckets of a queue that one step looks at
_LATER = 10  # buckets of a queue, not due yet, that one step looks at to find the next that is not empty


@dataclass(frozen=True, slots=True)
class Look:
    """What a dispatcher sees: the due buckets, the next buckets, whether there may be more that it must look at soon,
    whether any entry is void, and the sets of queues that workers serve (store/crowds.py)."""

    due: list[Bucket]
    later: list[Bucket]
    more: bool
    void: bool
    crowds: bytes | None


class BucketsStrategy(BucketIndex):
    """Dispatchers do not collide, except over void entries. Due times are rounded up to the second."""

    name = "buckets"
    summary = "a list per second; up to a second late, runs on Redis 2.4, any number of dispatchers"
    needs = Needs(version=(2, 4))

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock) -> None:
        super().__init__(client, keys, owner, clock)
        self._queues: list[str] = []
        self._turns = Turns()

    def dispatch(self, limit: int) -> Dispatched:
        now = self.clock.now_us()
        look, popped, moved, conflicts = self._moved(now, limit)
        # a producer that sees a bucket before its own wakes no dispatcher, even if that bucket is empty: look once more
        hiding = not self._clean(look, now) or any(not bucket.length for bucket in look.later)
        left = hiding or look.more or sum(bucket.length for bucket in look.due) > popped
        nearest = min((bucket for bucket in look.later if bucket.length), key=attrgetter("second"), default=None)
        next_in = 0.0 if left else None if nearest is None else max(0, nearest.second * US - now) / US
        next_queue = "" if nearest is None else nearest.queue
        return Dispatched(self._lateness(moved, now), next_in, conflicts, now, next_queue)

    def _moved(self, now_us: int, limit: int) -> tuple[Look, int, list[tuple[str, str]], int]:
        """The result of ``_move``, and how many attempts were aborted.

        A cancel in any queue aborts an attempt that looks for void entries. So after some attempts dispatch does not
        look for them: void entries become ready, too, and the step that claims drops them.
        """
        done, conflicts = self.transactions.tried(lambda session: self._move(session, now_us, limit), _JUDGED)
        if done is None:
            done = self.transactions.run(lambda session: self._move(session, now_us, limit, judge=False))
        return *done, conflicts

    def recover(self, dispatcher: str = "", *, silent_for: float = 0.0) -> int:
        return 0  # tasks are moved in one step each

    def _move(
        self, session: Session, now_us: int, limit: int, *, judge: bool = True
    ) -> tuple[Look, int, list[tuple[str, str]]]:
        """Move up to about ``limit`` tasks to READY. Returns what was seen, how many entries were taken out of buckets,
        and the queue and id of each task moved."""
        session.watch(self.keys.plain("meta"))
        look = self._look(session, now_us // US)
        pops = self._pops(look.due, bounded(limit, len(self._queues))[0])
        if look.void and judge:
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

    def _judged(self, session: Session, pops: Sequence[Pop]) -> list[Pop]:
        """``pops``, with the void entries among them marked. If there are any, the attempt is aborted when another
        process takes from these buckets or changes what is void."""
        found = self._void_among(session, pops)
        if any(pop.void for pop in found):
            session.watch(self.keys.plain("revoked"), *{self._key(pop.bucket) for pop in pops})
            found = self._void_among(session, pops)
        return found

    def _look(self, session: Session, second: int) -> Look:
        reads = self._replies(session, second)
        while reads is None:  # there are new queues
            reads = self._replies(session, second)
        void, crowds, *replies = reads
        names = [queue for queue in self._queues for _ in range(2)]
        found = [Bucket(queue, number(raw)) for queue, rows in zip(names, replies, strict=True) for raw in rows]
        lengths = session.read([("LLEN", self._key(bucket)) for bucket in found])
        buckets = [replace(bucket, length=length) for bucket, length in zip(found, lengths, strict=True)]
        due, later = [one for one in buckets if one.second <= second], [one for one in buckets if one.second > second]
        # if all later buckets that were read are empty, the next task of that queue is not known yet
        full = {queue for queue, rows in zip(names[::2], replies[1::2], strict=True) if len(rows) == _LATER}
        hidden = full - {bucket.queue for bucket in later if bucket.length}
        more = bool(hidden) or any(len(rows) == _SECONDS for rows in replies[::2])
        return Look(due, later, more, bool(void), crowds)

    def _replies(self, session: Session, second: int) -> list[Any] | None:
        """Whether any entry is void; the sets of queues that workers serve; for each queue its due seconds and its next
        seconds. None if there are new queues. Raises StrategyMismatch."""
        questions: list[Command] = [ownership.question(self.keys, "crowds"), ("SMEMBERS", self.keys.plain("queues"))]
        questions.append(("EXISTS", self.keys.plain("revoked")))
        for queue in self._queues:
            key = self.keys.of("seconds", queue)
            questions.append(("ZRANGEBYSCORE", key, "-inf", second, "LIMIT", 0, _SECONDS))
            questions.append(("ZRANGEBYSCORE", key, f"({second}", "+inf", "LIMIT", 0, _LATER))
        [*owner, crowds], names, void, *replies = session.read(questions)
        ownership.require(self.keys, self.ownership, owner, settled=True)
        known, self._queues = self._queues, sorted(name.decode(errors=LENIENT) for name in names)
        return [void, crowds, *replies] if known == self._queues else None

    def _pops(self, due: Sequence[Bucket], limit: int) -> list[Pop]:
        """Pops of about ``limit`` tasks."""
        waiting: dict[str, int] = {}
        for bucket in due:
            waiting[bucket.queue] = waiting.get(bucket.queue, 0) + bucket.length
        shares = self._turns.shares(limit, {queue: tasks for queue, tasks in waiting.items() if tasks})
        pops: list[Pop] = []
        for bucket in due:
            take = min(bucket.length, shares.get(bucket.queue, 0))
            if take:
                shares[bucket.queue] -= take
                pops += [Pop(bucket)] * take
        return pops

    def _lateness(self, moved: Sequence[tuple[str, str]], now_us: int) -> list[Moved]:
        """The tasks moved, with their lateness. The exact due times come from the records: a bucket has the second."""
        raws = self.transactions.trip([("HGET", self.keys.record(task_id), task_id) for _, task_id in moved])
        records = [readable_record(task_id, raw) for (_, task_id), raw in zip(moved, raws, strict=True)]
        return [
            Moved(queue, max(0, now_us - record.due_us) / US if record is not None else 0.0, task_id)
            for (queue, task_id), record in zip(moved, records, strict=True)
        ]

    def _clean(self, look: Look, now_us: int) -> bool:
        """Remove empty buckets, except those that were due just now: a producer may still push into them.

        False if a producer pushes into one, or another dispatcher cleans, too: then dispatch looks again soon.
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

    def _remove(self, session: Session, queue: str, stale: Sequence[Bucket]) -> None:
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
        commands: list[Command] = [("ZREM", seconds, *empty), ("HDEL", sizes, *empty, *map(void_field, empty))]
        if total == sum(counts):
            session.watch(sizes)  # these are the last buckets of the queue: a task added now must abort this
            [all_] = session.read([("HGET", sizes, "all")])
            commands.append(("HDEL", sizes, "all") if number(all_) == total else ("HINCRBY", sizes, "all", -total))
        else:
            commands.append(("HINCRBY", sizes, "all", -sum(counts)))
        session.commit([*commands, self.touch_guard()])
