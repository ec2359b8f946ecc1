"""Dead letters are revived or discarded, without scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...client.transactions import Session
from ...schema.bounds import MOST_TASKS, first_step
from ...schema.record import Record, readable_record
from ...schema.states import State
from .edit import Edit
from .parts import Parts, length


def revive(parts: Parts, task_ids: Sequence[str]) -> int:
    """See ``Store.revive``."""

    def edit_one(edit: Edit, record: Record, now: int) -> Record:
        alive = record._replace(
            state=State.SCHEDULED, due_us=now, cause="retry", since_us=0, token=0, retries=0, losses=0
        )
        edit.save(alive)
        edit.add(alive)
        edit.note(now, "revived", record.id, due_us=now)
        return alive

    return _each(parts, task_ids, edit_one)


def discard(parts: Parts, task_ids: Sequence[str]) -> int:
    """See ``Store.discard``."""

    def edit_one(edit: Edit, record: Record, now: int) -> None:
        edit.erase(record)
        edit.note(now, "discarded", record.id, **record.since_scheduled())

    return _each(parts, task_ids, edit_one)


def _each(parts: Parts, task_ids: Sequence[str], edit_one: Callable[[Edit, Record, int], Record | None]) -> int:
    """Call ``edit_one`` for each of the tasks that is a dead letter; returns how many were."""

    def attempt(session: Session, ids: Sequence[str]) -> tuple[int, int]:
        now, edit = parts.clock.now_us(), parts.edit()
        raws, _ = parts.load_to_index(session, ids)
        count = first_step(map(length, raws))
        records = [readable_record(*pair) for pair in zip(ids[:count], raws[:count], strict=True)]
        dead = [record for record in records if record is not None and record.state == State.DEAD]
        for record in dead:
            edit.exhume(record)
        added = [edit_one(edit, record, now) for record in dead]
        parts.commit(session, edit, added=[record for record in added if record is not None])
        return len(dead), count

    done, left = 0, list(dict.fromkeys(task_ids))
    while left:
        some = left[:MOST_TASKS]
        changed, looked = parts.transactions.run(lambda session, some=some: attempt(session, some))  # type: ignore[misc]
        done, left = done + changed, left[looked:]
    return done
