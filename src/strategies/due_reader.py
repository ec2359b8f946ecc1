"""Reads the due tasks of the timer zsets by commands of Redis 2.4, for strategies that decide in the dispatcher."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.client.protocol import LENIENT, Command
from ..core.client.transactions import Session
from ..core.clock import US
from ..core.schema import ownership
from ..core.schema.bounds import MOST_TASKS
from ..core.store.strategy import Entry, Strategy


@dataclass(slots=True)
class Due:
    """Tasks that are due at ``now_us``, in the order of their due times within a queue."""

    now_us: int
    entries: list[Entry] = field(default_factory=list)
    crowds: bytes | None = None
    """The sets of queues that workers serve (store/crowds.py)."""
    nearest: tuple[int, str] | None = None
    """When the first task is due that is not among ``entries``, and its queue; None if there is none."""

    def by_queue(self) -> dict[str, list[Entry]]:
        """The entries by queue."""
        queues: dict[str, list[Entry]] = {}
        for entry in self.entries:
            queues.setdefault(entry.queue, []).append(entry)
        return queues

    def counts(self) -> dict[str, int]:
        """How many there are of each queue."""
        return {queue: len(entries) for queue, entries in self.by_queue().items()}

    def note_heads(self, heads: Sequence[Any]) -> None:
        """Lower ``nearest`` to the first tasks of the queues of ``entries``, read after these were taken out.

        Such a task may have been scheduled after the entries were read. Its producer then woke no dispatcher, since one
        of these entries was due before it.
        """
        firsts = [(int(float(head[1])), queue) for queue, head in zip(self.by_queue(), heads, strict=True) if head]
        if self.nearest is not None:
            firsts.append(self.nearest)
        self.nearest = min(firsts, default=None)

    def next_in(self) -> float | None:
        """Seconds until the next is due, 0 if one is due already, None if none is scheduled."""
        return None if self.nearest is None else max(0, self.nearest[0] - self.now_us) / US

    @property
    def next_queue(self) -> str:
        """The queue of the next task; empty if none is scheduled."""
        return "" if self.nearest is None else self.nearest[1]


class Turns:
    """Shares a batch out over queues. What one queue does not need goes to the queues after it.

    The next batch begins with the queues that got nothing of the batch before, or else with another queue.
    """

    def __init__(self) -> None:
        self._last = ""

    def shares(self, limit: int, waiting: dict[str, int]) -> dict[str, int]:
        """How many of its ``waiting`` tasks each queue may move, about ``limit`` in all."""
        names = sorted(waiting)
        at = bisect_right(names, self._last)
        left, shares = limit, {}
        for turn, name in enumerate(names[at:] + names[:at]):
            shares[name] = min(waiting[name], -(-left // (len(names) - turn)))
            left -= shares[name]
        served = [name for name, share in shares.items() if share]
        if served:
            self._last = served[-1] if len(served) < sum(map(bool, waiting.values())) else served[0]
        return shares


def bounded(limit: int, queues: int) -> tuple[int, int]:
    """``limit`` within reason, and how many tasks to look at in each of ``queues`` queues."""
    limit = max(1, min(limit, MOST_TASKS))
    return limit, max(-(-limit // max(1, queues)), min(limit, MOST_TASKS // max(1, queues)))


class DueReader:
    """Reads what is due. Remembers the names of the queues, so that one round trip is enough."""

    def __init__(self, strategy: Strategy) -> None:
        self._keys, self._strategy = strategy.keys, strategy
        self._queues: list[str] = []
        self._turns = Turns()

    def read(self, session: Session, now_us: int, limit: int) -> Due:
        """About ``limit`` due tasks at most. Raises StrategyMismatch."""
        replies = self._look(session, now_us, limit)
        while replies is None:  # there are new queues
            replies = self._look(session, now_us, limit)
        limit, _ = bounded(limit, len(self._queues))
        crowds, *replies = replies
        due = Due(now_us, crowds=crowds)
        late = dict(zip(self._queues, replies[::2], strict=True))
        shares = self._turns.shares(limit, {queue: len(rows) // 2 for queue, rows in late.items()})
        nexts = zip(self._queues, replies[1::2], strict=True)
        nearest = [(int(float(later[1])), queue) for queue, later in nexts if later]
        for queue, rows in late.items():
            entries = [
                Entry(queue, rows[at].decode(errors=LENIENT), int(float(rows[at + 1]))) for at in range(0, len(rows), 2)
            ]
            due.entries += entries[: shares[queue]]
            nearest += [(entry.due_us, queue) for entry in entries[shares[queue] :]]
        due.nearest = min(nearest, default=None)
        return due

    def _look(self, session: Session, now_us: int, limit: int) -> list[Any] | None:
        """The sets of queues that workers serve; then for each queue its due tasks, and the first that is not due.

        None if there are queues that this reader did not know.
        """
        _, most = bounded(limit, len(self._queues))
        questions: list[Command] = [ownership.question(self._keys, "crowds"), ("SMEMBERS", self._keys.plain("queues"))]
        for queue in self._queues:
            key = self._keys.timer(self._strategy.name, queue)
            questions.append(("ZRANGEBYSCORE", key, "-inf", now_us, "WITHSCORES", "LIMIT", 0, most + 1))
            questions.append(("ZRANGEBYSCORE", key, f"({now_us}", "+inf", "WITHSCORES", "LIMIT", 0, 1))
        [*owner, crowds], names, *replies = session.read(questions)
        ownership.require(self._keys, self._strategy.ownership, owner, settled=True)
        known, self._queues = self._queues, sorted(name.decode(errors=LENIENT) for name in names)
        return [crowds, *replies] if known == self._queues else None
