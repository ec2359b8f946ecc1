"""The store for servers without scripts: WATCH, read, decide, MULTI/EXEC. Commands of Redis 2.4 only.

A task's record decides what may become of it, so the hash that holds it is watched, and every step that changes what
may become of a task writes its record. Two things a record does not say. Whether a waiting task is in the index or
beyond: who must know watches the guard (see ``TransactionalStrategy``). And who has an entry of a ready list in hand:
taking one is RPOPLPUSH into the worker's held list, and only then is the claim written (see ``advance``). So a task in
a held list may be unclaimed; whoever gives back what the worker held puts it back, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from ...client import partly
from ...client.protocol import LENIENT, Command
from ...client.transactions import Aborted, Session, Transactions
from ...clock import US, Clock
from ...schema import ownership
from ...schema.bounds import MOST_TASKS, first_step, steps
from ...schema.helper_keys import repair
from ...schema.keys import Keys
from ...schema.quarantine import oddity, put_away
from ...schema.record import Record, is_newer, number, readable_record, task_of
from ...schema.states import CLAIMED, State
from ...schema.wakeups import wake_dispatcher, wake_workers
from ..base import ALIVE_S, Advance, Aside, Channel, Lost, NewTask, Outcome, Reaped, Scheduled, existing
from ..names import NEWER, NOWHERE
from ..reading import KeyedStore
from ..scripted.channel import PromptChannel
from ..strategy import TransactionalStrategy
from ..unclaimed import Unclaimed, leave_aside, put_aside
from .advance import Taking
from .edit import Edit, entry_of
from .forget import Forgetting
from .mend import Mending
from .rerun import Rerunning


@dataclass(frozen=True, slots=True)
class _Found:
    """A task that no worker has, and whether it is in the index."""

    record: Record
    indexed: bool


class TransactionalStore(KeyedStore):
    """See ``Store``."""

    def __init__(self, client: redis.Redis, keys: Keys, index: TransactionalStrategy, clock: Clock) -> None:
        super().__init__(client, keys, clock)
        self._index, self._transactions = index, Transactions(client, repair(keys))
        self._unclaimed = Unclaimed(self._transactions, keys, index, clock, self._names)
        self._taking = Taking(self._transactions, keys, index, clock, self._names, self._unclaimed)
        self._mending = Mending(self._transactions, keys)
        self._forgetting = Forgetting(self._transactions, keys, index.name)
        self._rerunning = Rerunning(self._transactions, keys, index, clock)

    # -- by producers

    def schedule(self, tasks: Sequence[NewTask]) -> list[Scheduled]:
        results: list[Scheduled] = []
        try:
            for some in steps(tasks, lambda task: len(task.body)):
                self._schedule(some, results)
        except Exception as error:
            partly.note(error, results)
            raise
        return results

    def _schedule(self, tasks: Sequence[NewTask], results: list[Scheduled]) -> None:
        """In one transaction; in two halves if somebody keeps changing one of so many hashes."""
        if len(tasks) == 1:
            results += self._transactions.run(lambda session: self._attempt_schedule(session, tasks))
            return
        for _ in range(2):
            try:
                results += self._transactions.once(lambda session: self._attempt_schedule(session, tasks))
                return
            except Aborted:
                continue
        middle = len(tasks) // 2
        self._schedule(tasks[:middle], results)
        self._schedule(tasks[middle:], results)

    def _attempt_schedule(self, session: Session, tasks: Sequence[NewTask]) -> list[Scheduled]:
        raws, free = self._load_to_index(session, [task.id for task in tasks])
        now, edit = self._clock.now_us(), Edit(self._keys, self._index)
        new: dict[str, Record] = {}
        results = []
        for task, raw in zip(tasks, raws, strict=True):
            damaged = oddity(task.id, raw) == "record"
            if (raw is None or damaged) and task.id not in new:
                if damaged:
                    place = self._keys.record(task.id).removeprefix(self._keys.prefix)
                    edit.commands += put_away(self._keys, "record", place, task.id, raw, now)
                due = max(now, now + task.due if task.relative else task.due)
                record = Record(task.id, State.SCHEDULED, due, task.queue, 0, 0, 0, "", 0, 0, "", task.body)
                edit.save(record)
                edit.add(record)
                edit.note(now, "scheduled", task.id, due_us=due)
                new[task.id] = record
                results.append(Scheduled(now, ""))
            else:
                record_now = readable_record(task.id, raw)
                state = State.SCHEDULED if task.id in new else record_now.state if record_now else "?"
                results.append(Scheduled(now, existing(state)))
        if new:
            if free:
                edit.commands += ownership.written(self._keys, self._index.name, self._index.store, "producer")
            for queue in {record.queue for record in new.values()}:
                edit.commands.append(("SADD", self._keys.plain("queues"), queue))
                edit.count("scheduled", queue, sum(record.queue == queue for record in new.values()))
            self._commit(session, edit, added=list(new.values()))
        return results

    def again(self, task: NewTask, token: int) -> int | None:
        return self._rerunning.keep(task, token)

    def forget_again(self, task_id: str, token: int) -> bool:
        return self._rerunning.forget(task_id, token)

    def mend_again(self, task_id: str) -> bool:
        return self._rerunning.mend(task_id)

    def cancel(self, task_id: str) -> bool:
        def attempt(session: Session) -> _Found | None:
            found = self._waiting(session, task_id)
            if found is None:
                return None
            edit = Edit(self._keys, self._index)
            self._withdraw(edit, found)
            edit.erase(found.record)
            edit.commands.append(("HDEL", self._keys.plain("again"), task_id))  # of a retry
            edit.count("cancelled", found.record.queue)
            edit.note(self._clock.now_us(), "cancelled", task_id)
            self._commit(session, edit)
            return found

        found = self._transactions.run(attempt)
        self._tidy_aside(found)
        return found is not None

    def reschedule(self, task_id: str, due: int, *, relative: bool = False) -> int | None:
        def attempt(session: Session) -> tuple[_Found | None, int | None]:
            found = self._waiting(session, task_id)
            if found is None:
                return None, None
            now, edit = self._clock.now_us(), Edit(self._keys, self._index)
            self._withdraw(edit, found)
            moved = found.record._replace(
                state=State.SCHEDULED, due_us=max(now, now + due if relative else due), token=0
            )
            edit.save(moved)
            edit.add(moved)
            edit.note(now, "rescheduled", task_id, due_us=moved.due_us)
            self._commit(session, edit, added=[moved])
            return found, moved.due_us

        found, due_us = self._transactions.run(attempt)
        self._tidy_aside(found)
        return due_us

    def _withdraw(self, edit: Edit, found: _Found) -> None:
        """Take a task out of the place where it waits."""
        if found.record.state == State.UNCLAIMED:
            leave_aside(edit, found.record)
        else:
            edit.withdraw(found.record, found.indexed)

    def _tidy_aside(self, found: _Found | None) -> None:
        if found is not None and found.record.state == State.UNCLAIMED:
            self._unclaimed.tidy(found.record.queue, task_of(found.record.body))

    def _waiting(self, session: Session, task_id: str) -> _Found | None:
        """A task that no worker has, and whether it is in the index; None if there is none."""
        session.watch(self._keys.plain("guard"))
        [raw], _ = self._load_to_index(session, [task_id], settled=True)
        record = readable_record(task_id, raw)
        if record is None or record.state not in (State.SCHEDULED, State.UNCLAIMED):
            return None
        return _Found(record, record.state == State.SCHEDULED and self._index.counts(session, entry_of(record)))

    # -- by workers

    def advance(
        self,
        worker: str,
        queues: Sequence[str],
        lease_us: int,
        *,
        want: int = 1,
        outcome: Outcome | None = None,
        start: Record | None = None,
    ) -> Advance:
        return self._taking.advance(worker, queues, lease_us, want, outcome, start)

    def channel(self, queues: Sequence[str] = (), wakeup_fd: int = -1) -> Channel:
        return PromptChannel(self, self._client, self._wakeup_keys(queues), wakeup_fd)

    def extend(self, worker: str, claims: Sequence[Record], lease_us: int) -> list[bool]:
        def attempt(session: Session, claims: Sequence[Record]) -> list[bool]:
            held: Command = ("LLEN", self._keys.of("held", worker))
            *raws, holding = self._load(session, [claim.id for claim in claims], [held])
            now, edit = self._clock.now_us(), Edit(self._keys, self._index)
            kept = []
            for claim, raw in zip(claims, raws, strict=True):
                record = readable_record(claim.id, raw)
                ours = record is not None and record.state in CLAIMED and _is_of(record, claim.token, worker)
                kept.append(ours)
                if ours and record is not None and record.state == State.LEASED:
                    edit.save(record)  # so that whoever was about to take the lease back looks again
                    edit.lease(record, now + lease_us)
            if holding:
                edit.commands.append(("ZADD", self._keys.plain("workers"), now + lease_us, worker))
            session.commit(edit.commands)
            return kept

        kept: list[bool] = []
        for some in [*steps(claims, _size)] or [()]:
            kept += self._transactions.run(lambda session, some=some: attempt(session, some))  # type: ignore[misc]
        return kept

    def release(self, worker: str, claims: Sequence[Record]) -> int:
        def attempt(session: Session, claims: Sequence[Record]) -> int:
            raws = self._load(session, [claim.id for claim in claims])
            edit, released = Edit(self._keys, self._index), 0
            for claim, raw in zip(claims, raws, strict=True):
                record = readable_record(claim.id, raw)
                if record is not None and record.state == State.HELD and _is_of(record, claim.token, worker):
                    edit.put_back(record)
                    released += 1
            self._commit(session, edit)
            return released

        return sum(
            self._transactions.run(lambda session, some=some: attempt(session, some))  # type: ignore[misc]
            for some in steps(claims, _size)
        )

    # -- when owners are gone

    def give_back(
        self,
        worker: str,
        cause: Literal["worker_lost", "lease_expired", "unstarted"],
        most_losses: int,
        since_us: int = 0,
        how: str = "",
        begun: Collection[int] = (),
        running: int | None = None,
    ) -> list[Lost]:
        lost: list[Lost] = []
        while True:
            step = self._transactions.run(
                lambda session: self._give_back(session, worker, cause, most_losses, since_us, how, begun, running)
            )
            if step is None:
                return lost
            lost += step

    def _give_back(
        self,
        session: Session,
        worker: str,
        cause: str,
        most_losses: int,
        since_us: int,
        how: str,
        begun: Collection[int],
        running: int | None,
    ) -> list[Lost] | None:
        """A batch of what the worker holds; None once that is all, or if it turns out to be alive."""
        held, workers = self._keys.of("held", worker), self._keys.plain("workers")
        session.watch(held)
        ids, life = session.read([("LRANGE", held, 0, MOST_TASKS - 1), ("ZSCORE", workers, worker)])
        now, edit = self._clock.now_us(), Edit(self._keys, self._index)
        if cause == "lease_expired" and life is not None and float(life) > now:
            return None
        if not ids:
            self._forget(session, worker)
            return None
        names = [raw_id.decode(errors=LENIENT) for raw_id in ids]
        session.watch(self._keys.plain("revoked"))
        revoked_key, again_key = self._keys.plain("revoked"), self._keys.plain("again")
        more: list[Command] = [*(("HGET", revoked_key, name) for name in names), ("HMGET", again_key, *names)]
        *replies, agains = self._load(session, names, more)
        raws, voids = replies[: len(names)], replies[len(names) :]
        count = first_step(map(_length, raws))
        lost, asides = list[Lost](), list[Aside]()
        for name, raw, revoked, again in [*zip(names, raws, voids, agains, strict=True)][:count]:
            record = readable_record(name, raw)
            if record is not None and record.worker == worker and record.state in CLAIMED:
                if record.state == State.HELD and record.token in begun:
                    record = record.started()  # word of it was lost with the worker
                most = most_losses if running in (None, record.token) else 0
                forgotten = cause == "unstarted" and record.token in begun  # it ran and ended: Redis has lost that
                lost_by = "lease_expired" if forgotten else cause
                lost.append(Lost(name, record.queue, edit.lose(record, lost_by, since_us, most, now, how, again)))
                continue
            edit.commands.append(("LREM", held, 1, name))
            if record is not None and record.state == State.SCHEDULED:
                edit.make_ready(record)  # taken, but the worker did not come to claim it
            elif (odd := oddity(name, raw)) == "newer":
                asides.append(Aside(NOWHERE, NEWER, name))
            elif odd:
                edit.commands += put_away(self._keys, odd, f"held:{worker}", name, raw, now)
            elif revoked is not None:
                edit.one_less_revoked(name, number(revoked))
        put_aside(edit, asides, now)
        self._commit(session, edit)
        return lost

    def _forget(self, session: Session, worker: str) -> None:
        """A worker holds nothing any more: nobody whose silence matters. The wake-ups that it took are pushed again."""
        busy = [
            queue.decode(errors=LENIENT)
            for queue in session.read([("ZRANGE", self._keys.plain("busy"), 0, MOST_TASKS - 1)])[0]
        ]
        # Redis may think it connected still: that takes one
        wakeups = [command for queue in busy for command in wake_workers(self._keys, queue, 2)]
        session.commit([("ZREM", self._keys.plain("workers"), worker), *wakeups, *wake_dispatcher(self._keys)])

    def reap(self, limit: int, lease_us: int, most_losses: int, latest_us: int = 0) -> Reaped:
        now = self._clock.now_us()
        if 0 < latest_us < now:
            return Reaped(now, None, [], [])
        workers = self._keys.plain("workers")
        leased = self._keys.plain("leased")
        first: list[Command] = [("ZRANGE", key, 0, 0, "WITHSCORES") for key in (leased, workers)]
        heads = self._transactions.trip(first)
        if all(float(head[1]) > now for head in heads if head):
            return Reaped(now, _first_end(heads), [], [])
        expired: list[Command] = [("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, limit) for key in (leased, workers)]
        found, names = self._transactions.trip(expired)
        lost = self._transactions.run(lambda session: self._take_back(session, found, lease_us, most_losses, now))
        heads = self._transactions.trip(first)
        gone = [name for name in (raw.decode(errors=LENIENT) for raw in names) if self._holds(name)]
        return Reaped(now, _first_end(heads), gone, lost)

    def _take_back(
        self, session: Session, leases: Sequence[bytes], lease_us: int, most_losses: int, now: int
    ) -> list[Lost]:
        """Of leases, as they stand in the index, those that have run out, and those of which there is no claim."""
        leased = self._keys.plain("leased")
        names = [lease.decode(errors=LENIENT).partition(":") for lease in leases]
        raws = self._load(session, [task_id for _, _, task_id in names])
        # read again, now that the records are watched: an owner that extends its lease writes its record
        ends = session.read([("ZSCORE", leased, lease) for lease in leases])
        edit, lost = Edit(self._keys, self._index), []
        now_too = first_step(map(_length, raws))  # the others are expired still when the caller comes back
        for lease, (queue, _, task_id), raw, end in [*zip(leases, names, raws, ends, strict=True)][:now_too]:
            record = readable_record(task_id, raw)
            if record is None and raw is not None and is_newer(raw):
                edit.commands.append(("ZADD", leased, now + lease_us, lease))  # for one to take back who can read it
            elif record is None or record.state != State.LEASED or record.queue != queue:
                edit.commands.append(("ZREM", leased, lease))
                if record is None and raw is not None:
                    edit.commands += put_away(self._keys, "record", f"leased:{queue}", task_id, raw, now)
            elif end is not None and float(end) <= now:
                how = edit.lose(record, "lease_expired", int(float(end)) - lease_us, most_losses, now)
                lost.append(Lost(record.id, record.queue, how))
        self._commit(session, edit)
        return lost

    def _holds(self, worker: str) -> bool:
        """Whether a silent worker holds anything; one that does not is forgotten."""

        def attempt(session: Session) -> bool:
            held = self._keys.of("held", worker)
            session.watch(held)
            [holding] = session.read([("LLEN", held)])
            if not holding:
                session.commit([("ZREM", self._keys.plain("workers"), worker)])
            return bool(holding)

        return self._transactions.run(attempt)

    def alive(self, supervisor: str) -> bool:
        until = self._clock.now_us() + round(ALIVE_S * US)
        return bool(self._client.execute_command("ZADD", self._keys.plain("supervisors"), until, supervisor))

    # -- dead letters, and the auditor

    def revive(self, task_ids: Sequence[str]) -> int:
        def edit_one(edit: Edit, record: Record, now: int) -> Record:
            self._exhume(edit, record)
            alive = record._replace(
                state=State.SCHEDULED, due_us=now, cause="retry", since_us=0, token=0, retries=0, losses=0
            )
            edit.save(alive)
            edit.add(alive)
            edit.note(now, "revived", record.id, due_us=now)
            return alive

        return self._each_dead(task_ids, edit_one)

    def discard(self, task_ids: Sequence[str]) -> int:
        def edit_one(edit: Edit, record: Record, now: int) -> None:
            self._exhume(edit, record)
            edit.erase(record)
            edit.note(now, "discarded", record.id)

        return self._each_dead(task_ids, edit_one)

    def _each_dead(self, task_ids: Sequence[str], edit_one: Callable[[Edit, Record, int], Record | None]) -> int:
        def attempt(session: Session, ids: Sequence[str]) -> tuple[int, int]:
            now, edit = self._clock.now_us(), Edit(self._keys, self._index)
            raws, _ = self._load_to_index(session, ids)
            count = first_step(map(_length, raws))
            records = [readable_record(*pair) for pair in zip(ids[:count], raws[:count], strict=True)]
            dead = [record for record in records if record is not None and record.state == State.DEAD]
            added = [edit_one(edit, record, now) for record in dead]
            self._commit(session, edit, added=[record for record in added if record is not None])
            return len(dead), count

        done, left = 0, list(dict.fromkeys(task_ids))
        while left:
            some = left[:MOST_TASKS]
            changed, looked = self._transactions.run(lambda session, some=some: attempt(session, some))  # type: ignore[misc]
            done, left = done + changed, left[looked:]
        return done

    def _exhume(self, edit: Edit, record: Record) -> None:
        edit.commands += [
            ("ZREM", self._keys.of("dead", record.queue), record.id),
            ("HDEL", self._keys.plain("reasons"), record.id),
        ]

    def mend(self, task_id: str, raw: bytes) -> bool:
        def attempt(session: Session) -> bool:
            session.watch(self._keys.plain("guard"))
            [now_raw], _ = self._load_to_index(session, [task_id], settled=True)
            record = readable_record(task_id, now_raw)
            if now_raw != raw or record is None:
                return False
            now, edit, added = self._clock.now_us(), Edit(self._keys, self._index), list[Record]()
            if record.state == State.SCHEDULED:
                indexed = self._index.contains(session, entry_of(record))
                lost_way = self._index.way_to(session, entry_of(record)) if indexed else []
                if indexed and not lost_way:
                    return False
                edit.save(record)  # so that another auditor, about to do the same, looks again
                if indexed:
                    edit.commands += lost_way
                else:
                    edit.add(record)
                added = [record]
            elif record.state in CLAIMED:
                edit.lose(record, "lease_expired", now, 0, now)
            elif record.state == State.DEAD:
                edit.commands.append(("ZADD", self._keys.of("dead", record.queue), now, record.id))
            elif record.state == State.UNCLAIMED:
                put_aside(edit, [Aside(record.queue, task_of(record.body), record.id)], now)
            self._commit(session, edit, added=added)
            return True

        return self._transactions.run(attempt)

    def mend_queues(self, queues: Sequence[str]) -> list[str]:
        return self._mending.queues(queues)

    def wake_again(self, queues: Sequence[str]) -> None:
        wanted = set(queues)
        self._mending.wake_again([queue for queue in self.busy() if queue in wanted])

    def forget_queue(self, queue: str, scheduled: int) -> bool:
        return queue not in self.leases() and self._forgetting.queue(queue, scheduled)

    def forget_revoked(self, counts: Mapping[str, int]) -> int:
        return self._forgetting.revoked(counts)

    # -- shared

    def _load(self, session: Session, ids: Sequence[str], more: Sequence[Command] = ()) -> list[Any]:
        """The raw records of ``ids``, whose hashes are watched from now on, and the replies to ``more``."""
        keys = [self._keys.record(task_id) for task_id in ids]
        session.watch(*keys)
        return session.read([*(("HGET", key, task_id) for key, task_id in zip(keys, ids, strict=True)), *more])

    def _load_to_index(self, session: Session, ids: Sequence[str], *, settled: bool = False) -> tuple[list[Any], bool]:
        """The same for a step that touches the index, and whether nobody keeps the namespace yet; raises if another
        strategy does. That is watched, too."""
        session.watch(self._keys.plain("meta"))
        *raws, kept = self._load(session, ids, [ownership.question(self._keys)])
        return raws, ownership.require(self._keys, self._index.name, kept, settled=settled)

    def _commit(self, session: Session, edit: Edit, *, added: Sequence[Record] = ()) -> None:
        """Commit; then wake a dispatcher if one of ``added`` is due before all others of its queue."""
        first: dict[str, Record] = {}
        for record in sorted(added, key=lambda one: (one.due_us, one.id)):
            first.setdefault(record.queue, record)
        entries = [entry_of(record) for record in first.values()]
        replies, _ = session.commit([*edit.commands, *edit.wakeups(), *(self._index.head(entry) for entry in entries)])
        heads = replies[len(replies) - len(entries) :]
        if any(self._index.leads(head, entry) for head, entry in zip(heads, entries, strict=True)):
            session.read(wake_dispatcher(self._keys))


def _size(claim: Record) -> int:
    return len(claim.body)


def _length(raw: bytes | None) -> int:
    return len(raw or b"")


def _is_of(record: Record, token: int, worker: str) -> bool:
    """Whether it was claimed last under ``token`` by ``worker``."""
    return (record.token, record.worker) == (token, worker)


def _first_end(heads: Sequence[Any]) -> int | None:
    """The first of the ends that stand first in some zsets; None if all are empty."""
    return min((int(float(head[1])) for head in heads if head), default=None)
