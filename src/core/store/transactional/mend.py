"""A task goes into the place that its record says, since it was not found there, without scripts."""

from __future__ import annotations

from ...client.transactions import Session
from ...schema.record import Record, readable_record, task_of
from ...schema.states import CLAIMED, State
from ..unclaimed import put_aside
from ..values import Aside
from .edit import entry_of
from .parts import Parts


def mend(parts: Parts, task_id: str, raw: bytes) -> bool:
    """See ``Store.mend``."""

    def attempt(session: Session) -> bool:
        session.watch(parts.keys.plain("guard"))
        [raw_now], _ = parts.load_to_index(session, [task_id], settled=True)
        record = readable_record(task_id, raw_now)
        if raw_now != raw or record is None:
            return False
        if record.state == State.SCHEDULED:
            return _index(parts, session, record)
        now, edit = parts.clock.now_us(), parts.edit()
        if record.state in CLAIMED:
            edit.lose(record, "lease_expired", now, 0, now)
        elif record.state == State.DEAD:
            edit.commands.append(("ZADD", parts.keys.of("dead", record.queue), now, record.id))
        elif record.state == State.UNCLAIMED:
            put_aside(edit, [Aside(record.queue, task_of(record.body), record.id)], now)
        parts.commit(session, edit)
        return True

    return parts.transactions.run(attempt)


def _index(parts: Parts, session: Session, record: Record) -> bool:
    """Put a scheduled task into the index, where dispatchers find it; False if it is there already."""
    indexed = parts.index.contains(session, entry_of(record))
    lost_way = parts.index.way_to(session, entry_of(record)) if indexed else []
    if indexed and not lost_way:
        return False
    edit = parts.edit()
    edit.save(record)  # so that another auditor, about to do the same, looks again
    if indexed:
        edit.commands += lost_way
    else:
        edit.add(record)
    parts.commit(session, edit, added=[record])
    return True
