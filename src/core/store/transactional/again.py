"""The next run that a running task asks for, without scripts. ``Edit.follow`` makes it the record later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...client.protocol import Command
from ...client.transactions import Session
from ...schema import ownership
from ...schema.record import Record, new_record, readable_record
from ...schema.states import CLAIMED
from ...schema.tail import settled_tail
from ...schema.wakeups import wake_dispatcher
from ..again import decode_again, encode_again
from ..values import NewTask
from .parts import Parts


def keep(parts: Parts, task: NewTask, token: int) -> int | None:
    """See ``Store.again``."""

    def attempt(session: Session) -> int | None:
        record, kept = _running(parts, session, task.id, token)
        if record is None:
            return None
        now, edit = parts.clock.now_us(), parts.edit()
        due = max(now, now + task.due if task.relative else task.due)
        format_ = ownership.format_in(kept)
        if format_ == "1" and task.tail:
            raise ownership.old_format(parts.keys)
        following = new_record(task.id, due, task.queue, task.body, now, format_, settled_tail(task.tail, due))
        edit.commands += ownership.featuring(parts.keys, kept, [following.tail])
        edit.save(record)  # so that a step that is about to end the run looks again
        edit.commands.append(("HSET", parts.keys.plain("again"), task.id, encode_again(following)))
        edit.note(now, "again", task.id, due_us=due)
        session.commit(edit.commands)
        return now

    return parts.transactions.run(attempt)


def forget(parts: Parts, task_id: str, token: int) -> bool:
    """See ``Store.forget_again``."""

    def attempt(session: Session) -> bool:
        record, _ = _running(parts, session, task_id, token)
        [kept] = session.read([("HEXISTS", parts.keys.plain("again"), task_id)])
        if record is None or not kept:
            return False
        edit = parts.edit()
        edit.save(record)
        edit.commands.append(("HDEL", parts.keys.plain("again"), task_id))
        edit.note(parts.clock.now_us(), "cancelled", task_id, again=True)
        session.commit(edit.commands)
        return True

    return parts.transactions.run(attempt)


def mend(parts: Parts, task_id: str) -> bool:
    """See ``Store.mend_again``."""

    def attempt(session: Session) -> bool:
        key = parts.keys.plain("again")
        owner, raw, raw_again = _read(parts, session, task_id, [("HGET", key, task_id)], also=[key])
        ownership.require(parts.keys, parts.index.ownership, owner, settled=True)
        if raw is not None or raw_again is None:
            return False
        edit = parts.edit()
        following = decode_again(task_id, raw_again)
        if following is None:
            session.commit([("HDEL", key, task_id)])
            return False
        edit.add(edit.follow(following, 0, parts.clock.now_us()))
        session.commit([*edit.commands, *wake_dispatcher(parts.keys)])
        return True

    return parts.transactions.run(attempt)


def _running(parts: Parts, session: Session, task_id: str, token: int) -> tuple[Record | None, Any]:
    """The record, if this run is the task's; and the reply to ``ownership.question``."""
    owner, raw = _read(parts, session, task_id)
    ownership.require(parts.keys, parts.index.ownership, owner)
    record = readable_record(task_id, raw)
    ours = record is not None and record.state in CLAIMED and record.token == token
    return record if ours else None, owner


def _read(
    parts: Parts, session: Session, task_id: str, more: Sequence[Command] = (), also: Sequence[str] = ()
) -> list[Any]:
    shard = parts.keys.record(task_id)
    session.watch(parts.keys.plain("meta"), shard, *also)
    return session.read([ownership.question(parts.keys), ("HGET", shard, task_id), *more])
