"""A task that no worker has: where it waits, and how it leaves that place."""

from __future__ import annotations

from dataclasses import dataclass

from ...client.transactions import Session
from ...schema.record import Record, readable_record, task_of
from ...schema.states import State
from ..unclaimed import Unclaimed, leave_aside
from .edit import Edit, entry_of
from .parts import Parts


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that no worker has, and whether it is in the index."""

    record: Record
    indexed: bool

    def withdraw(self, edit: Edit) -> None:
        """Take it out of the place where it waits."""
        if self.record.state == State.UNCLAIMED:
            leave_aside(edit, self.record)
        else:
            edit.withdraw(self.record, self.indexed)

    def tidy(self, unclaimed: Unclaimed) -> None:
        """After ``withdraw`` is committed: the list of a task put aside may be empty by now."""
        if self.record.state == State.UNCLAIMED:
            unclaimed.tidy(self.record.queue, task_of(self.record.body))


def waiting(parts: Parts, session: Session, task_id: str) -> Waiting | None:
    """The task, whose record and place are watched; None if there is none, or a worker has it."""
    session.watch(parts.keys.plain("guard"))
    [raw], _ = parts.load_to_index(session, [task_id], settled=True)
    record = readable_record(task_id, raw)
    if record is None or record.state not in (State.SCHEDULED, State.UNCLAIMED):
        return None
    return Waiting(record, record.state == State.SCHEDULED and parts.index.counts(session, entry_of(record)))
