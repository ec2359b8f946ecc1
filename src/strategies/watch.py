"""``watch``: a zset per queue; a dispatcher watches, reads what is due, and moves it in one MULTI/EXEC.

This is the oldest way, with two changes. Every ZADD of a producer touches the zset, so a dispatcher that watches the
zset starves. Here it watches a guard key, which changes only when tasks are taken out of the index, so producers do not
disturb it. And dispatchers that collide pause for a random, growing time, so that none starves; the winner of each
collision moves a whole batch.
"""

from __future__ import annotations

import redis

from ..core.client.protocol import Command
from ..core.client.transactions import Session
from ..core.clock import US, Clock
from ..core.schema.keys import Keys
from ..core.store.crowds import wakeups_for
from ..core.store.strategy import Dispatched, Moved, Needs
from .due_reader import Due, DueReader
from .zset_index import TransactionalTimers

_ATTEMPTS = 8


class WatchStrategy(TransactionalTimers):
    """Dispatchers may collide. Each collision aborts one attempt, and is counted."""

    name = removal = "watch"
    summary = "zset and WATCH/MULTI; exact, runs on Redis 2.4; dispatchers collide under load, so run few"
    needs = Needs(version=(2, 4))

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock) -> None:
        super().__init__(client, keys, owner, clock)
        self._reader = DueReader(self)

    def dispatch(self, limit: int) -> Dispatched:
        due, conflicts = self.transactions.tried(lambda session: self._move(session, limit), _ATTEMPTS)
        if due is None:
            return Dispatched([], 0.0, conflicts)  # other dispatchers move the due tasks; look again soon
        moved = [Moved(entry.queue, (due.now_us - entry.due_us) / US, entry.id) for entry in due.entries]
        return Dispatched(moved, due.next_in(), conflicts, due.now_us, due.next_queue)

    def recover(self, dispatcher: str = "", *, silent_for: float = 0.0) -> int:
        return 0  # tasks are moved in one step, whole or not at all

    def _move(self, session: Session, limit: int) -> Due:
        session.watch(self.keys.plain("guard"), self.keys.plain("meta"))
        due = self._reader.read(session, self.clock.now_us(), limit)
        commands: list[Command] = []
        for queue, entries in due.by_queue().items():
            ids = [entry.id for entry in entries]
            commands += [
                ("ZREM", self.timer(queue), *ids),
                ("LPUSH", self.keys.of("ready", queue), *ids),
            ]
        if commands:
            commands += wakeups_for(session, self.keys, due.counts(), due.crowds)
            heads = self.heads(due.by_queue())
            done, _ = session.commit([*commands, self.touch_guard(), *heads])
            due.note_heads(done[-len(heads) :])
        return due
