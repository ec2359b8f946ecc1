"""``tmpset``: a zset per queue; due tasks are popped, a batch in one step, into a tmp set of the dispatcher's own.

The usual way is to read and remove by MULTI, and to write to the tmp set afterwards: a dispatcher that dies in between
loses what it popped. Here the pop is one MULTI, which aborts no other process: the dispatcher names the tasks that it
wants, ZINTERSTORE makes a tmp set of those that are still in the zset, and ZREM takes them out. ZINTERSTORE goes
through the smaller of its sets, so its cost depends on the batch, and not on how many tasks wait. Two dispatchers that
want the same tasks never get one twice, and never undo each other.

From the tmp set the tasks go to READY in a second MULTI, which happens only if the tmp set is still there: a process
that recovers the set, because its dispatcher is dead or hangs, removes it in the same step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import redis

from ..core.client.protocol import LENIENT, Command
from ..core.client.transactions import Session
from ..core.clock import US, Clock
from ..core.schema.keys import Keys
from ..core.store.crowds import crowds_question, wakeups_for
from ..core.store.strategy import Dispatched, Entry, Moved, Needs
from .due_reader import Due, DueReader
from .zset_index import TransactionalTimers

_SETS = 1000  # tmp sets looked at by one recovery


class TmpsetStrategy(TransactionalTimers):
    """Dispatchers never undo each other; one that finds some of what it wanted gone counts a conflict."""

    name = removal = "tmpset"
    summary = "zset and a tmp set per dispatcher; exact, runs on Redis 2.4, any number of dispatchers"
    needs = Needs(version=(2, 4), commands=("ZINTERSTORE",))

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock) -> None:
        super().__init__(client, keys, owner, clock)
        self._reader = DueReader(self)
        self._popped = 0
        self._unsure = False  # whether the last dispatch failed half-way, and may have left tmp sets

    def dispatch(self, limit: int) -> Dispatched:
        if self._unsure:
            self.recover(self.owner)
        self._unsure = True
        due = self.transactions.run(lambda session: self._pop(session, limit))
        wanted = due.by_queue()
        moved = [entry for queue in wanted for entry in self._deliver(self._set(queue))]
        self._unsure = False
        return Dispatched(
            [Moved(entry.queue, (due.now_us - entry.due_us) / US, entry.id) for entry in moved],
            due.next_in(),
            conflicts=int(len(moved) < len(due.entries)),
            now_us=due.now_us,
            next_queue=due.next_queue,
        )

    def busy_dispatchers(self) -> list[str]:
        [names] = self.transactions.trip([("ZRANGE", self.keys.plain("tmps"), 0, _SETS - 1)])
        return list(dict.fromkeys(raw.decode(errors=LENIENT).partition(":")[0] for raw in names))

    def recover(self, dispatcher: str = "", *, silent_for: float = 0.0) -> int:
        [rows] = self.transactions.trip([("ZRANGE", self.keys.plain("tmps"), 0, _SETS - 1, "WITHSCORES")])
        filled = {raw.decode(errors=LENIENT): int(float(at)) for raw, at in zip(rows[::2], rows[1::2], strict=True)}
        if filled and silent_for and not dispatcher:  # otherwise all, also those of hosts whose clocks are ahead
            latest = self.clock.now_us() - int(silent_for * US)
            filled = {name: at for name, at in filled.items() if at <= latest}
        return sum(len(self._deliver(name)) for name in filled if not dispatcher or name.startswith(f"{dispatcher}:"))

    def pages(self, queue: str) -> Iterator[list[str]]:
        yield from super().pages(queue)
        [names] = self.transactions.trip([("ZRANGE", self.keys.plain("tmps"), 0, _SETS - 1)])
        for name in (raw.decode(errors=LENIENT) for raw in names):
            if name.rpartition(":")[2] == queue:
                [ids] = self.transactions.trip([("ZRANGE", self.keys.of("tmp", name), 0, -1)])
                yield [raw_id.decode(errors=LENIENT) for raw_id in ids]

    def clear(self, queues: Sequence[str]) -> None:
        self.recover()
        super().clear(queues)

    def _pop(self, session: Session, limit: int) -> Due:
        """Move due tasks from the index into tmp sets. Aborted only if another strategy takes the namespace over."""
        session.watch(self.keys.plain("meta"))
        due = self._reader.read(session, self.clock.now_us(), limit)
        commands: list[Command] = []
        if due.entries:
            self._popped += 1  # a set is never filled twice
        for queue, entries in due.by_queue().items():
            name, timer = self._set(queue), self.timer(queue)
            wanted, tmp = self.keys.of("wanted", name), self.keys.of("tmp", name)
            commands += [
                ("ZADD", wanted, *(value for entry in entries for value in (0, entry.id))),
                ("ZINTERSTORE", tmp, 2, wanted, timer, "WEIGHTS", 0, 1),
                ("ZREM", timer, *(entry.id for entry in entries)),
                ("DEL", wanted),
                ("ZADD", self.keys.plain("tmps"), due.now_us, name),
            ]
        if commands:
            heads = self.heads(due.by_queue())
            done, _ = session.commit([*commands, self.touch_guard(), *heads])
            due.note_heads(done[-len(heads) :])
        return due

    def _deliver(self, name: str) -> list[Entry]:
        """Move the tasks of a tmp set to READY. Tasks that are not there any more were moved by another process."""
        queue, tmp = name.rpartition(":")[2], self.keys.of("tmp", name)

        def attempt(session: Session) -> list[Entry]:
            session.watch(tmp, self.keys.plain("meta"))
            rows, crowds = session.read([("ZRANGE", tmp, 0, -1, "WITHSCORES"), crowds_question(self.keys)])
            entries = [
                Entry(queue, rows[at].decode(errors=LENIENT), int(float(rows[at + 1]))) for at in range(0, len(rows), 2)
            ]
            commands: list[Command] = [("ZREM", self.keys.plain("tmps"), name)]
            if entries:
                ready = ("LPUSH", self.keys.of("ready", queue), *(entry.id for entry in entries))
                wakeups = wakeups_for(session, self.keys, {queue: len(entries)}, crowds)
                commands += [ready, *wakeups, ("DEL", tmp)]
            session.commit(commands)
            return entries

        return self.transactions.run(attempt)

    def _set(self, queue: str) -> str:
        return f"{self.owner}:{self._popped}:{queue}"
