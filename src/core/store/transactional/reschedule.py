"""A task that no worker has gets another due time, without scripts."""

from __future__ import annotations

from ...client.transactions import Session
from ...schema.states import State
from ..unclaimed import Unclaimed
from .parts import Parts
from .waiting import Waiting, waiting


def reschedule(parts: Parts, unclaimed: Unclaimed, task_id: str, due: int, *, relative: bool) -> int | None:
    """See ``Store.reschedule``."""

    def attempt(session: Session) -> tuple[Waiting, int] | None:
        found = waiting(parts, session, task_id)
        if found is None:
            return None
        now, edit = parts.clock.now_us(), parts.edit()
        found.withdraw(edit)
        due_us = max(now, now + due if relative else due)
        moved = found.record._replace(state=State.SCHEDULED, due_us=due_us, token=0)
        edit.save(moved)
        edit.add(moved)
        edit.note(now, "rescheduled", task_id, due_us=due_us)
        parts.commit(session, edit, added=[moved])
        return found, due_us

    done = parts.transactions.run(attempt)
    if done is None:
        return None
    found, due_us = done
    found.tidy(unclaimed)
    return due_us
