"""A task that no worker has is forgotten, without scripts."""

from __future__ import annotations

from ...client.transactions import Session
from ..unclaimed import Unclaimed
from .parts import Parts
from .waiting import Waiting, waiting


def cancel(parts: Parts, unclaimed: Unclaimed, task_id: str) -> bool:
    """See ``Store.cancel``."""

    def attempt(session: Session) -> Waiting | None:
        found = waiting(parts, session, task_id)
        if found is not None:
            edit = parts.edit()
            found.withdraw(edit)
            edit.erase(found.record)
            edit.commands.append(("HDEL", parts.keys.plain("again"), task_id))  # a retry may have one
            edit.count("cancelled", found.record.queue)
            edit.note(parts.clock.now_us(), "cancelled", task_id, **found.record.since_scheduled())
            parts.commit(session, edit)
        return found

    found = parts.transactions.run(attempt)
    if found is None:
        return False
    found.tidy(unclaimed)
    return True
