"""The store with Lua scripts: one script, so one round trip and one atomic step, per transition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.exceptions import OutOfMemoryError

from ...client import partly
from ...client.protocol import LENIENT
from ...client.transactions import Contention
from ...clock import US, Clock
from ...schema.bounds import MOST_TASKS, steps
from ...schema.keys import Keys
from ...schema.record import Record, readable_record
from ...schema.script import Script, Value
from ...schema.scripts import Scripts
from ..base import Channel
from ..crowds import Crowd, Crowds
from ..reading import KeyedStore
from ..strategy import Entry, Strategy
from ..tokens import SeenTokens
from ..values import ALIVE_S, Advance, Cause, Loss, Lost, NewTask, Reaped, Scheduled, Step, existing
from .channel import ScriptedChannel, advanced, misses_names, step_arguments
from .lookout import Lookout, nothing_held

_TRIP = 1000  # tasks scheduled in one round trip
_LOOKS = 5  # attempts to look through a lazy index while nobody changes it
_GIVEN_BACK = 50  # claims that one step releases: each record is encoded anew, and the workers of its queue are woken
_CAUSES: dict[Cause, str] = {"worker_lost": "w", "lease_expired": "e", "unstarted": "u"}


class ScriptedStore(KeyedStore):
    """See ``Store``; the guarantees of each step stand at the head of its .lua file."""

    def __init__(self, client: redis.Redis, keys: Keys, index: Strategy, scripts: Scripts, clock: Clock) -> None:
        super().__init__(client, keys, clock)
        self._index, self._seen = index, SeenTokens()

        def load(name: str) -> Script:
            return scripts.load(__package__, name)

        self._schedule, self._cancel, self._reschedule = load("schedule"), load("cancel"), load("reschedule")
        self._advance, self._extend, self._release = load("advance"), load("extend"), load("release")
        self._give_back, self._reap = load("give_back"), load("reap")
        self._revive, self._discard, self._mend = load("revive"), load("discard"), load("mend")
        self._alive, self._rehearse = load("alive"), load("rehearse")
        self._publish = load("publish_names")
        self._crowds = Crowds(keys, load("keep_crowd"), load("write_crowd"))
        self._mend_queues, self._wake_again = load("mend_queues"), load("wake_again")
        self._again, self._forget_again, self._mend_again = load("again"), load("forget_again"), load("mend_again")
        self._forget_queue, self._forget_revoked = load("forget_queue"), load("forget_revoked")
        self._lookout = Lookout(self._trips, keys, index.ownership, self._names, scripts.load(__package__, "end_sleep"))

    def schedule(self, tasks: Sequence[NewTask]) -> list[Scheduled]:
        results: list[Scheduled] = []
        try:
            for trip in range(0, len(tasks), _TRIP):
                self._schedule_trip(tasks[trip : trip + _TRIP], results)
        except Exception as error:
            partly.note(error, results)
            raise
        return results

    def _schedule_trip(self, tasks: Sequence[NewTask], results: list[Scheduled]) -> None:
        if len(tasks) == 1:
            batches, replies = [tasks], [self._schedule(*self._batch(tasks))]
        else:
            batches = [*steps(tasks, lambda task: len(task.body) + len(task.tail))]
            replies = self._schedule.many(map(self._batch, batches))
        for at, (batch, reply) in enumerate(zip(batches, replies, strict=True)):
            try:
                self._schedule_rest(batch, reply, results)
            except Exception as error:
                # the batches after it were sent, too, and Redis may have answered them otherwise
                partly.note(error, results, doubtful=any(repr(later) != repr(error) for later in replies[at + 1 :]))
                raise

    def _schedule_rest(self, batch: Sequence[NewTask], reply: Any, results: list[Scheduled]) -> None:
        """Add the results of ``batch``; send again the tasks that the step left, since large records have their ids."""
        left = batch
        while True:
            if isinstance(reply, Exception):
                raise reply
            results += _scheduled(reply)
            left = left[len(reply) - 1 :]
            if not left:
                return
            reply = self._schedule(*self._batch(left))

    def _batch(self, tasks: Sequence[NewTask]) -> list[Value]:
        arguments: list[Value] = []
        for task in tasks:
            arguments += (
                task.id,
                f"+{task.due}" if task.relative else task.due,
                task.queue,
                b"%b|%b" % (task.tail, task.body),
            )
        return arguments

    def again(self, task: NewTask, token: int) -> int | None:
        due = f"+{task.due}" if task.relative else task.due
        return int(self._again(task.id, token, due, task.queue, b"%b|%b" % (task.tail, task.body)) or 0) or None

    def forget_again(self, task_id: str, token: int) -> bool:
        return bool(self._forget_again(task_id, token))

    def mend_again(self, task_id: str) -> bool:
        return bool(self._mend_again(task_id))

    def cancel(self, task_id: str) -> bool:
        return bool(self._cancel(task_id))

    def reschedule(self, task_id: str, due: int, *, relative: bool = False) -> int | None:
        reply = self._reschedule(task_id, f"+{due}" if relative else due)
        return int(reply[1]) if reply[0] else None

    def advance(self, step: Step) -> Advance:
        if step.want > 0:
            self._crowds.keep(step.queues)
        reply = self._advance(*step_arguments(step, self._seen.highest, self._names))
        if misses_names(reply):
            self._publish_names(self._wakeup_keys(step.queues))
        if step.start is not None:
            step = step._replace(start=step.start.started())
        return advanced(reply, step, self._seen)

    def channel(self, queues: Sequence[str] = (), wakeup_fd: int = -1) -> Channel:
        keys = self._wakeup_keys(queues)
        return ScriptedChannel(
            self._client,
            self._advance,
            self._seen,
            self._names,
            self._crowds,
            keys,
            wakeup_fd,
            lambda: self._publish_names(keys),
            self._lookout,
        )

    def _publish_names(self, wakeup_keys: Sequence[str] = ()) -> None:
        self._publish(self._names.field, self._names.text, *wakeup_keys)

    def _wakeup_keys(self, queues: Sequence[str]) -> list[str]:
        return super()._wakeup_keys([queues.wakeup] if isinstance(queues, Crowd) else queues)

    def extend(self, worker: str, claims: Sequence[Record], lease_us: int) -> list[bool]:
        return [
            bool(kept)
            for some in [*steps(claims, _size)] or [()]
            for kept in self._extend(worker, lease_us, *_named(some))
        ]

    def release(self, worker: str, claims: Sequence[Record]) -> int:
        return sum(int(self._release(worker, *_named(some))) for some in steps(claims, _size, _GIVEN_BACK))

    def give_back(self, loss: Loss) -> list[Lost]:
        running = "" if loss.running is None else loss.running
        arguments = (loss.worker, _CAUSES[loss.cause], loss.most_losses, loss.since_us, loss.how, running, *loss.begun)
        lost: list[Lost] = []
        remaining = 1
        while remaining:
            remaining, *rows = self._give_back(*arguments)
            lost += _lost(rows)
        return lost

    def reap(self, limit: int, lease_us: int, most_losses: int, latest_us: int = 0) -> Reaped:
        if self._reap.goes_by_servers_clock and (quiet_at := nothing_held(self._trips, self._keys)):
            return Reaped(quiet_at, None, [], [])
        now, next_end, silent, *rows = self._reap(limit, lease_us, most_losses, latest_us)
        return Reaped(
            int(now), int(next_end) if next_end else None, [name.decode(errors=LENIENT) for name in silent], _lost(rows)
        )

    def alive(self, supervisor: str) -> bool:
        try:
            return super().alive(supervisor)
        except OutOfMemoryError:
            return bool(self._alive(supervisor, round(ALIVE_S * US)))

    def end_sleep(self, worker: str, *, gone: bool = False) -> None:
        self._lookout.wake(worker, gone=gone)

    def revive(self, task_ids: Sequence[str]) -> int:
        return _step_by_step(self._revive, task_ids)

    def discard(self, task_ids: Sequence[str]) -> int:
        return _step_by_step(self._discard, task_ids)

    def mend(self, task_id: str, raw: bytes) -> bool:
        for _ in range(_LOOKS if self._index.lazy else 1):
            done = self._mend(task_id, raw, *(self._looked_up(task_id, raw) if self._index.lazy else ()))
            if done >= 0:
                return bool(done)
        raise Contention("BUSY: other clients take tasks out of the index without end")

    def _looked_up(self, task_id: str, raw: bytes) -> tuple[Value, ...]:
        """The guard, and whether a scheduled task is in the index, which is too long for one step to look through."""
        guard: Any = self._client.get(self._keys.plain("guard"))
        record = readable_record(task_id, raw)
        if record is None or record.state != "S":
            return guard or b"", 0
        return guard or b"", int(not self._index.missing([Entry(record.queue, record.id, record.due_us)]))

    def mend_queues(self, queues: Sequence[str]) -> list[str]:
        unmarked: list[str] = []
        more = 1
        while more:
            more, *names = self._mend_queues(*queues)
            unmarked += [name.decode(errors=LENIENT) for name in names]
        return unmarked

    def wake_again(self, queues: Sequence[str]) -> None:
        wanted = set(queues)
        for names in steps([queue for queue in self.busy() if queue in wanted], len):
            self._wake_again(*names)

    def rehearse(self, queue: str, due_us: int) -> None:
        self._rehearse(queue, due_us)

    def forget_queue(self, queue: str, scheduled: int) -> bool:
        return queue not in self.leases() and bool(self._forget_queue(queue, scheduled))

    def forget_revoked(self, counts: Mapping[str, int]) -> int:
        return sum(
            int(self._forget_revoked(*(value for task_id in ids for value in (task_id, counts[task_id]))))
            for ids in steps(list(counts), len)
        )


def _scheduled(reply: list[Any]) -> Iterator[Scheduled]:
    """What ``schedule.lua`` replied."""
    now = int(reply[0])
    return (Scheduled(now, "" if state == b"new" else existing(state.decode(errors=LENIENT))) for state in reply[1:])


def _size(claim: Record) -> int:
    return len(claim.body)


def _named(claims: Sequence[Record]) -> Iterator[Value]:
    for claim in claims:
        yield claim.id
        yield claim.token


def _lost(rows: list[Any]) -> list[Lost]:
    return [
        Lost(rows[at].decode(errors=LENIENT), rows[at + 1].decode(errors=LENIENT), rows[at + 2].decode(errors=LENIENT))
        for at in range(0, len(rows), 3)
    ]


def _step_by_step(script: Script, task_ids: Sequence[str]) -> int:
    """Call ``script`` until all tasks are done, as many at once as fit a short step; returns how many it changed."""
    changed = at = 0
    while at < len(task_ids):
        done, looked = script(*task_ids[at : at + MOST_TASKS])
        changed, at = changed + int(done), at + int(looked)
    return changed
