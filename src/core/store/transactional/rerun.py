"""What a task asks for after its run, without scripts. How that becomes the record: ``Edit.follow``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...client.protocol import Command
from ...client.transactions import Session, Transactions
from ...clock import Clock
from ...schema import ownership
from ...schema.keys import Keys
from ...schema.record import Record, readable_record
from ...schema.states import CLAIMED
from ...schema.wakeups import wake_dispatcher
from ..again import decode_again, encode_again
from ..base import NewTask
from ..strategy import TransactionalStrategy
from .edit import Edit


class Rerunning:
    """``Store.again``, ``forget_again`` and ``mend_again`` with WATCH/MULTI."""

    def __init__(self, transactions: Transactions, keys: Keys, index: TransactionalStrategy, clock: Clock) -> None:
        self._transactions, self._keys, self._index, self._clock = transactions, keys, index, clock

    def keep(self, task: NewTask, token: int) -> int | None:
        def attempt(session: Session) -> int | None:
            record = self._running(session, task.id, token)
            if record is None:
                return None
            now, edit = self._clock.now_us(), Edit(self._keys, self._index)
            due = max(now, now + task.due if task.relative else task.due)
            edit.save(record)  # so that whoever is about to end the run looks again
            edit.commands.append(
                ("HSET", self._keys.plain("again"), task.id, encode_again(task._replace(due=due, relative=False)))
            )
            edit.note(now, "again", task.id, due_us=due)
            session.commit(edit.commands)
            return now

        return self._transactions.run(attempt)

    def forget(self, task_id: str, token: int) -> bool:
        def attempt(session: Session) -> bool:
            record = self._running(session, task_id, token)
            [kept] = session.read([("HEXISTS", self._keys.plain("again"), task_id)])
            if record is None or not kept:
                return False
            edit = Edit(self._keys, self._index)
            edit.save(record)
            edit.commands.append(("HDEL", self._keys.plain("again"), task_id))
            edit.note(self._clock.now_us(), "cancelled", task_id, again=True)
            session.commit(edit.commands)
            return True

        return self._transactions.run(attempt)

    def mend(self, task_id: str) -> bool:
        def attempt(session: Session) -> bool:
            key = self._keys.plain("again")
            kept, raw, raw_again = self._read(session, task_id, [("HGET", key, task_id)], also=[key])
            ownership.require(self._keys, self._index.name, kept, settled=True)
            if raw is not None or raw_again is None:
                return False
            edit = Edit(self._keys, self._index)
            again = decode_again(task_id, raw_again)
            if again is None:
                session.commit([("HDEL", key, task_id)])
                return False
            edit.add(edit.follow(again, 0, self._clock.now_us()))
            session.commit([*edit.commands, *wake_dispatcher(self._keys)])
            return True

        return self._transactions.run(attempt)

    def _running(self, session: Session, task_id: str, token: int) -> Record | None:
        kept, raw = self._read(session, task_id)
        ownership.require(self._keys, self._index.name, kept)
        record = readable_record(task_id, raw)
        return record if record is not None and record.state in CLAIMED and record.token == token else None

    def _read(
        self, session: Session, task_id: str, more: Sequence[Command] = (), also: Sequence[str] = ()
    ) -> list[Any]:
        shard = self._keys.record(task_id)
        session.watch(self._keys.plain("meta"), shard, *also)
        return session.read([ownership.question(self._keys), ("HGET", shard, task_id), *more])
