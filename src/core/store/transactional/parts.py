"""The parts of every transition without scripts, in one value that each of them gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...client.protocol import Command
from ...client.transactions import Session, Transactions
from ...clock import Clock
from ...schema import ownership
from ...schema.keys import Keys
from ...schema.record import Record
from ...schema.wakeups import wake_dispatcher
from ..strategy import TransactionalStrategy
from .edit import Edit, entry_of


@dataclass(frozen=True, slots=True)
class Parts:
    """The connections, keys, index and clock of a store, and how its steps read and commit."""

    transactions: Transactions
    keys: Keys
    index: TransactionalStrategy
    clock: Clock

    def edit(self) -> Edit:
        """The writes of a step, none yet."""
        return Edit(self.keys, self.index)

    def load(self, session: Session, ids: Sequence[str], more: Sequence[Command] = ()) -> list[Any]:
        """The raw records of ``ids``, whose hashes are watched from now on, and the replies to ``more``."""
        keys = [self.keys.record(task_id) for task_id in ids]
        session.watch(*keys)
        return session.read([*(("HGET", key, task_id) for key, task_id in zip(keys, ids, strict=True)), *more])

    def load_to_index(self, session: Session, ids: Sequence[str], *, settled: bool = False) -> tuple[list[Any], Any]:
        """The same for a step that touches the index, and the reply to ``ownership.question``.

        Raises StrategyMismatch if another strategy does. The owner (``meta``) is watched, too.
        """
        session.watch(self.keys.plain("meta"))
        *raws, kept = self.load(session, ids, [ownership.question(self.keys)])
        ownership.require(self.keys, self.index.ownership, kept, settled=settled)
        return raws, kept

    def commit(self, session: Session, edit: Edit, *, added: Sequence[Record] = ()) -> None:
        """Commit; then wake a dispatcher if one of ``added`` is due before all others of its queue."""
        first: dict[str, Record] = {}
        for record in sorted(added, key=lambda one: (one.due_us, one.id)):
            first.setdefault(record.queue, record)
        entries = [entry_of(record) for record in first.values()]
        heads = [self.index.head(entry) for entry in entries]
        replies, _ = session.commit([*edit.commands, *edit.wakeups(), *heads])
        head_replies = replies[len(replies) - len(entries) :]
        if any(self.index.leads(reply, entry) for reply, entry in zip(head_replies, entries, strict=True)):
            session.read(wake_dispatcher(self.keys))


def length(raw: bytes | None) -> int:
    """How many bytes a record that was read has, for the bounds of a step."""
    return len(raw or b"")


def is_of(record: Record, token: int, worker: str) -> bool:
    """Whether the last claim of ``record`` was by ``worker``, under ``token``."""
    return (record.token, record.worker) == (token, worker)
