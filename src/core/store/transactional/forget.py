"""What the auditor clears away, without scripts."""

from __future__ import annotations

from collections.abc import Mapping

from ...client.protocol import Command
from ...client.transactions import Session, Transactions
from ...schema import ownership
from ...schema.keys import Keys
from ...schema.ownership import Ownership
from ...schema.record import number

_ATTEMPTS = 8
_BATCH = 100


class Forgetting:
    """``Store.forget_queue`` and ``Store.forget_revoked`` with WATCH/MULTI."""

    def __init__(self, transactions: Transactions, keys: Keys, ours: Ownership) -> None:
        self._transactions, self._keys, self._ours = transactions, keys, ours

    def queue(self, queue: str, scheduled: int) -> bool:
        # aborted whenever a producer schedules meanwhile, in any queue
        done, _ = self._transactions.tried(lambda session: self._forget_queue(session, queue, scheduled), _ATTEMPTS)
        return bool(done)

    def _forget_queue(self, session: Session, queue: str, scheduled: int) -> bool:
        """Forget ``queue``. Every task that is scheduled changes the counters, which are watched."""
        stats = self._keys.plain("stats")
        places = [self._keys.of(family, queue) for family in ("ready", "dead", "seconds")]
        places.append(self._keys.timer(self._ours.strategy, queue))
        session.watch(self._keys.plain("meta"), stats, *places)
        kept, counted, *found = session.read(
            [
                ownership.question(self._keys),
                ("HGET", stats, f"scheduled:{queue}"),
                *(("EXISTS", key) for key in places),
            ]
        )
        ownership.require(self._keys, self._ours, kept, settled=True)
        if number(counted) != scheduled or any(found):
            return False
        wakeup, busy, queues = self._keys.of("wakeup", queue), self._keys.plain("busy"), self._keys.plain("queues")
        done, _ = session.commit([("DEL", wakeup), ("ZREM", busy, queue), ("SREM", queues, queue)])
        return bool(done[-1])

    def revoked(self, counts: Mapping[str, int]) -> int:
        ids = list(counts)
        batches = [{task_id: counts[task_id] for task_id in ids[at : at + _BATCH]} for at in range(0, len(ids), _BATCH)]
        return sum(self._transactions.run(lambda session, some=some: self._revoked(session, some)) for some in batches)  # type: ignore[misc]

    def _revoked(self, session: Session, counts: Mapping[str, int]) -> int:
        key = self._keys.plain("revoked")
        session.watch(self._keys.plain("meta"), key)
        kept, *counted = session.read([ownership.question(self._keys), *(("HGET", key, task_id) for task_id in counts)])
        ownership.require(self._keys, self._ours, kept, settled=True)
        gone = [task_id for (task_id, count), raw in zip(counts.items(), counted, strict=True) if number(raw) == count]
        commands: list[Command] = [("HDEL", key, task_id) for task_id in gone]
        session.commit(commands)
        return len(gone)
