"""The index that most strategies share: a zset per queue, id -> due_at in microseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import redis

from ..core.client.paging import zset_pages
from ..core.client.protocol import LENIENT, Command
from ..core.client.transactions import Session, Transactions
from ..core.clock import US, Clock
from ..core.schema.bounds import MOST_TASKS
from ..core.schema.keys import Keys
from ..core.schema.scripts import lua
from ..core.store.strategy import Census, Dispatched, Entry, Moved, ScriptedStrategy, Strategy, TransactionalStrategy

_COUNTS = 1000  # commands in one round trip that only look at a key's head or length
_ENTRIES = 500  # of a long zset, read or removed by one command
_HEADS = 10  # queues with the earliest due times: if no task of these is late, none is


def first_scores(client: redis.Redis, keys: Sequence[str]) -> list[int | None]:
    """The lowest score in each of some zsets; None where one is empty."""
    pipe: Any = client.pipeline(transaction=False)
    for key in keys:
        pipe.zrange(key, 0, 0, withscores=True)
    return [int(head[0][1]) if head else None for head in (pipe.execute() if keys else [])]


class TimerZsets(Strategy):
    """What can be read from the zsets, whichever store writes them."""

    def timer(self, queue: str) -> str:
        """The key of a queue's zset."""
        return self.keys.timer(self.name, queue)

    def census(self, queues: Sequence[str]) -> list[Census]:
        commands: list[Command] = []
        for key in map(self.timer, queues):
            commands += [("ZCARD", key), ("ZRANGE", key, 0, 0, "WITHSCORES")]
        trips = Transactions(self.client)
        replies = [
            reply for at in range(0, len(commands), _COUNTS) for reply in trips.trip(commands[at : at + _COUNTS])
        ]
        return [
            Census(scheduled, int(float(head[1])) if head else None)
            for scheduled, head in zip(replies[::2], replies[1::2], strict=True)
        ]

    def first_due(self, queues: Sequence[str]) -> list[int | None]:
        return first_scores(self.client, [self.timer(queue) for queue in queues])

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        found: list[Entry] = []
        for at in range(0, len(entries), _ENTRIES):
            some = entries[at : at + _ENTRIES]
            pipe: Any = self.client.pipeline(transaction=False)
            for entry in some:
                pipe.zscore(self.timer(entry.queue), entry.id)
            found += [entry for entry, score in zip(some, pipe.execute(), strict=True) if score is None]
        return found

    def pages(self, queue: str) -> Iterator[list[str]]:
        return zset_pages(self.client, self.timer(queue))

    def clear(self, queues: Sequence[str]) -> None:
        for queue in queues:
            while self.client.zremrangebyrank(self.timer(queue), 0, _ENTRIES - 1) == _ENTRIES:
                pass


class ScriptedTimers(TimerZsets, ScriptedStrategy):
    """The same zsets, written and emptied by scripts, and one more zset: when the first task of each queue is due.

    With it a dispatcher reads only queues that have due tasks. A time in it may be too early, but never too late. The
    Lua text of ``timers`` writes it by ``leads`` and ``note_head`` (records.lua). It must also define
    ``timer_moved(queue, ids)``, which returns a list for ``step``, possibly empty.
    """

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock | None = None) -> None:
        super().__init__(client, keys, owner, clock)
        self._dispatch = self.scripts.load(__package__, "dispatch")
        self._mend = self.scripts.load(__package__, "mend_heads")

    def dispatch(self, limit: int) -> Dispatched:
        return self.step(limit)[0]

    def earliest(self, queues: Callable[[], Sequence[str]]) -> list[int]:
        heads: Any = self.client.zrange(self.keys.heads(self.name), 0, _HEADS - 1, withscores=True)
        return [int(due) for _, due in heads]

    def mend(self, queues: Sequence[str]) -> list[str]:
        return [queue.decode(errors=LENIENT) for queue in self._mend(*queues)]

    def clear(self, queues: Sequence[str]) -> None:
        for queue in queues:
            self.clear_zset(queue)
            self.mend([queue])

    def clear_zset(self, queue: str) -> None:
        """Remove all entries of a queue's zset, and the keys that belong to them."""
        super().clear([queue])

    def step(self, limit: int) -> tuple[Dispatched, list[bytes]]:
        """Dispatch once. Returns the result, and the list that ``timer_moved`` returned."""
        next_us, noted, now_us, next_queue, *rows = self._dispatch(min(limit, MOST_TASKS))
        moved = [
            Moved(rows[at].decode(errors=LENIENT), rows[at + 1] / US, rows[at + 2].decode(errors=LENIENT))
            for at in range(0, len(rows), 3)
        ]
        next_in = None if next_us < 0 else next_us / US
        return Dispatched(moved, next_in, now_us=now_us, next_queue=next_queue.decode(errors=LENIENT)), noted


class TransactionalTimers(TimerZsets, TransactionalStrategy):
    """The zsets alone, written by commands inside MULTI or by the store's scripts."""

    removal: ClassVar[str]
    """The name of the Lua file of this package that takes a task out of the index."""

    @classmethod
    def timers(cls) -> str:
        return lua(__package__, "zset") + lua(__package__, cls.removal)

    def add(self, entries: Sequence[Entry]) -> list[Command]:
        return [("ZADD", self.timer(entry.queue), entry.due_us, entry.id) for entry in entries]

    def remove(self, entries: Sequence[Entry]) -> list[Command]:
        return [("ZREM", self.timer(entry.queue), entry.id) for entry in entries]

    def contains(self, session: Session, entry: Entry) -> bool:
        [score] = session.read([("ZSCORE", self.timer(entry.queue), entry.id)])
        return score is not None

    def head(self, entry: Entry) -> Command:
        return ("ZRANGE", self.timer(entry.queue), 0, 0)

    def heads(self, queues: Iterable[str]) -> list[Command]:
        """Commands that read the first task of each of these queues, with its due time."""
        return [("ZRANGE", self.timer(queue), 0, 0, "WITHSCORES") for queue in queues]

    def leads(self, reply: Any, entry: Entry) -> bool:
        return bool(reply) and reply[0].decode(errors=LENIENT) == entry.id
