"""The writes of one transaction, put together record by record. The scripts' own versions: records.lua, claims.lua."""

from __future__ import annotations

from typing import Any

from ...client.protocol import Command
from ...schema.bounds import MOST_ID_CHARACTERS
from ...schema.journal import Event, Kind, append
from ...schema.keys import Keys
from ...schema.record import Record, encode_record
from ...schema.states import State
from ...schema.wakeups import wake_workers
from ..again import decode_again
from ..strategy import Entry, TransactionalStrategy
from ..values import Cause, LostHow


def entry_of(record: Record) -> Entry:
    """A scheduled task as the index has it."""
    return Entry(record.queue, record.id, record.due_us)


class Edit:
    """What one commit will do. Every method adds commands; the reads that they rely on must be watched."""

    def __init__(self, keys: Keys, index: TransactionalStrategy) -> None:
        self.commands: list[Command] = []
        self.keys, self._index = keys, index
        self._to_wake: dict[str, int] = {}

    def save(self, record: Record) -> None:
        self.commands.append(("HSET", self.keys.record(record.id), record.id, encode_record(record)))

    def erase(self, record: Record) -> None:
        self.commands.append(("HDEL", self.keys.record(record.id), record.id))

    def add(self, record: Record) -> None:
        """Index a scheduled task; the caller finds out whether a dispatcher must be woken."""
        self.commands += self._index.add([entry_of(record)])

    def withdraw(self, record: Record, indexed: bool) -> None:
        """Take a task that waits out of the index, or void its entry there (if that is lazy) or in the ready list."""
        if indexed:
            self.leave_index(record)
        if not indexed or self._index.lazy:
            self.commands.append(("HINCRBY", self.keys.plain("revoked"), record.id, 1))

    def leave_index(self, record: Record) -> None:
        """Take a task out of the index. A lazy index keeps the entry, and does not count it any more."""
        self.commands += [*self._index.remove([entry_of(record)]), self._index.touch_guard()]

    def one_less_revoked(self, task_id: str, revoked: int) -> None:
        """Count one void entry less, since it was dropped. ``revoked`` is the count before, which is watched."""
        key = self.keys.plain("revoked")
        self.commands.append(("HINCRBY", key, task_id, -1) if revoked > 1 else ("HDEL", key, task_id))

    def lease(self, record: Record, until_us: int) -> None:
        self.commands.append(("ZADD", self.keys.plain("leased"), until_us, self.keys.lease(record.queue, record.id)))

    def let_go(self, record: Record) -> None:
        """Its worker does not hold it any more."""
        self.commands += [
            ("LREM", self.keys.of("held", record.worker), 1, record.id),
            ("ZREM", self.keys.plain("leased"), self.keys.lease(record.queue, record.id)),
        ]

    def put_back(self, record: Record) -> None:
        """A claimed task goes to the head of its ready list: it is late already."""
        self.let_go(record)
        self.save(record._replace(state=State.SCHEDULED, token=0, worker=""))
        self.make_ready(record)

    def make_ready(self, record: Record) -> None:
        self.commands.append(("RPUSH", self.keys.of("ready", record.queue), record.id))
        self._to_wake[record.queue] = self._to_wake.get(record.queue, 0) + 1

    def bury(self, record: Record, reason: str, now_us: int, *, token: int = 0) -> None:
        """``token`` is kept for a nack: if the same nack is sent again, it is recognised."""
        self.save(record._replace(state=State.DEAD, token=token, worker="", since_us=0))
        self.commands += [
            ("ZADD", self.keys.of("dead", record.queue), now_us, record.id),
            ("HSET", self.keys.plain("reasons"), record.id, reason),
        ]

    def exhume(self, record: Record) -> None:
        """A dead letter leaves the dead letters of its queue."""
        self.commands += [
            ("ZREM", self.keys.of("dead", record.queue), record.id),
            ("HDEL", self.keys.plain("reasons"), record.id),
        ]

    def bury_run(self, record: Record, reason: str, now_us: int, again: Record | None, *, token: int = 0) -> None:
        """Bury a run that failed for good; under another id, if its task runs ``again`` (see ``follow``)."""
        if again is None:
            self.bury(record, reason, now_us, token=token)
            return
        end = f"~{record.token}"
        apart = record._replace(id=record.id[: MOST_ID_CHARACTERS - len(end)] + end)
        self.bury(apart, reason, now_us)
        self.note(now_us, "apart", record.id, id=apart.id)

    def follow(self, again: Record, token: int, now_us: int) -> Record:
        """``again``, the next run that a task asked for, becomes the record: the run under ``token`` has ended.

        The caller puts it into the index or its ready list.
        """
        due = max(now_us, again.due_us)
        record = again._replace(due_us=due, token=token)
        self.commands.append(("HDEL", self.keys.plain("again"), again.id))
        self.save(record)
        self.commands.append(("SADD", self.keys.plain("queues"), again.queue))
        self.count("scheduled", again.queue)
        self.note(now_us, "scheduled", again.id, due_us=due, after=str(token or ""))
        return record

    def lose(
        self,
        record: Record,
        cause: Cause,
        since_us: int,
        most_losses: int,
        now_us: int,
        how: str = "",
        again: bytes | None = None,
    ) -> LostHow:
        """The owner is gone: put the task back, or bury it if it has now cost ``most_losses`` workers (0: no blame).

        The next run of a buried task, ``again``, goes into its ready list; the worker that takes it there puts it into
        the index.
        """
        if record.state == State.HELD or cause == "unstarted":
            # never ran under this claim, so this delivery does not count
            self.put_back(record.unstarted())
            return "held"
        blamed = cause == "worker_lost" and most_losses > 0
        lost = record._replace(cause=cause, since_us=since_us, losses=record.losses + blamed)
        if blamed and lost.losses >= most_losses:
            self.let_go(lost)
            reason = f"killed its worker {lost.losses} times" + (how and f", the last time it {how}")
            following = decode_again(record.id, again)
            self.bury_run(lost, reason, now_us, following)
            if following is not None:
                self.make_ready(self.follow(following, record.token, now_us))
            return "dead"
        self.put_back(lost)
        return "started"

    def note(self, at_us: int, kind: Kind, task_id: str, **facts: Any) -> None:
        """Note for ``dueq explain`` what a producer did."""
        self.commands += append(self.keys, [Event(at_us, kind, task_id, who="producer", facts=facts)])

    def count(self, what: str, queue: str, by: int = 1) -> None:
        self.commands.append(("HINCRBY", self.keys.plain("stats"), f"{what}:{queue}", by))

    def wakeups(self) -> list[Command]:
        """The wake-ups for what was made ready; to be sent with the commit."""
        return [command for queue, tasks in self._to_wake.items() for command in wake_workers(self.keys, queue, tasks)]
