"""``Store.mend_queues`` and ``Store.wake_again`` without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...client.protocol import LENIENT, Command
from ...client.transactions import Session, Transactions
from ...schema.keys import Keys
from ...schema.wakeups import wake_workers

_LEASES = 100  # moved in one transaction


class Mending:
    """Repairs what is kept of queues beside their tasks, with WATCH/MULTI."""

    def __init__(self, transactions: Transactions, keys: Keys) -> None:
        self._transactions, self._keys = transactions, keys

    def queues(self, queues: Sequence[str]) -> list[str]:
        """Repair ``queues``; returns those that had work and were not marked busy."""
        ready, marks = self._ready(queues)
        before = self._transactions.trip([("EXISTS", self._keys.of("leased_before", queue)) for queue in queues])
        for queue, leases in zip(queues, before, strict=True):
            while leases and self._transactions.run(lambda session, queue=queue: self._move(session, queue)):  # type: ignore[misc]
                pass
        wrong = [
            queue
            for queue, waiting, mark in zip(queues, ready, marks, strict=True)
            if bool(waiting) is (mark is None)
            and self._transactions.run(lambda session, queue=queue: self._mark(session, queue))  # type: ignore[misc]
        ]
        return wrong

    def wake_again(self, queues: Sequence[str]) -> None:
        """Wake a worker for each that has work."""
        ready, _ = self._ready(queues)
        wakeups = [
            command
            for queue, waiting in zip(queues, ready, strict=True)
            if waiting
            for command in wake_workers(self._keys, queue, 1)
        ]
        self._transactions.trip(wakeups)

    def _ready(self, queues: Sequence[str]) -> tuple[list[Any], list[Any]]:
        """How many tasks are ready in each, and whether it is among the busy ones (None: no)."""
        lengths: list[Command] = [("LLEN", self._keys.of("ready", queue)) for queue in queues]
        marks: list[Command] = [("ZSCORE", self._keys.plain("busy"), queue) for queue in queues]
        replies = self._transactions.trip([*lengths, *marks])
        return replies[: len(queues)], replies[len(queues) :]

    def _mark(self, session: Session, queue: str) -> bool:
        """Mark ``queue`` as busy, or not, by whether it has work; True if it has, and was not marked."""
        ready, busy = self._keys.of("ready", queue), self._keys.plain("busy")
        session.watch(ready)
        waiting, mark = session.read([("LLEN", ready), ("ZSCORE", busy, queue)])
        if waiting and mark is None:
            session.commit(wake_workers(self._keys, queue, 1))
            return True
        if not waiting and mark is not None:
            session.commit([("ZREM", busy, queue), ("DEL", self._keys.of("wakeup", queue))])
        return False

    def _move(self, session: Session, queue: str) -> bool:
        """Move leases from the older layout to the present one; True if there may be more."""
        before, leased = self._keys.of("leased_before", queue), self._keys.plain("leased")
        session.watch(before, leased)
        [rows] = session.read([("ZRANGE", before, 0, _LEASES - 1, "WITHSCORES")])
        names = [raw.decode(errors=LENIENT) for raw in rows[::2]]
        there = session.read([("ZSCORE", leased, self._keys.lease(queue, name)) for name in names])
        commands: list[Command] = []
        for name, end, newer in zip(names, rows[1::2], there, strict=True):
            if newer is None:
                commands.append(("ZADD", leased, end, self._keys.lease(queue, name)))
            commands.append(("ZREM", before, name))
        session.commit(commands)
        return len(names) == _LEASES
