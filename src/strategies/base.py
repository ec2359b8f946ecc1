"""The interface of a strategy, which is also its specification.

A strategy owns one arrow of a task's life, SCHEDULED → READY: how due tasks are found, how a dispatcher sleeps, and
what wakes it. The record of a task belongs to the store; what a strategy keeps beside it is an index that can be
rebuilt from the records. A strategy knows nothing of processes or metrics: it returns what happened.

To add one, subclass ``Strategy`` (today: ``ScriptedStrategy``) and name the class in the entry-point group
``dueq.strategies``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import redis

from ..core.doorbell import Doorbell
from ..core.keys import Keys
from ..core.scripts import Scripts

WakeReason = Literal["due", "earlier", "event", "safety_net"]
"""Why a dispatcher woke: its timer ran out, an earlier task was scheduled, an event came, or just to be sure."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a server must offer for a strategy to run on it."""

    version: tuple[int, int]
    scripts: bool = False


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one ``dispatch`` did.

    ``moved`` has the queue and the lateness in seconds of every task moved; ``next_in`` is the exact number of
    seconds until the next is due (0: more are due already; None: none is scheduled).
    """

    moved: list[tuple[str, float]] = field(default_factory=list)
    next_in: float | None = None
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Census:
    """The scheduled tasks of a queue: how many, and when the first is due (epoch microseconds; None: none)."""

    scheduled: int
    oldest_due_us: int | None


class Strategy(ABC):
    """One way to move tasks to READY when they are due. An instance serves one process and one thread."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[Needs]

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        """Keep what is needed; send nothing yet."""
        self.client, self.keys = client, keys

    @abstractmethod
    def dispatch(self, limit: int) -> Dispatched:
        """Move up to about ``limit`` due tasks from the index to the ready lists, ringing the workers' bells.

        A task is eligible when its due time is not after Redis's clock. Whoever is killed at whichever instant, a
        task stays in the index or is in its ready list. Any number of dispatchers may call this at once.
        """

    @abstractmethod
    def wait(self, seconds: float, *, wakeup_fd: int = -1) -> WakeReason | None:
        """Sleep until woken, at most ``seconds`` and precise to well under 10 ms; None if that time passed.

        Must not poll. A task scheduled before all others, by whomever, ends the sleep at once. ``wakeup_fd``, once
        readable, ends it too.
        """

    @abstractmethod
    def census(self, queues: Sequence[str]) -> list[Census]:
        """Count the scheduled tasks of each queue, at a cost that does not grow with their number."""

    @abstractmethod
    def close(self) -> None:
        """Close what ``wait`` opened. Used again afterwards, the strategy reconnects."""


class ScriptedStrategy(Strategy):
    """A strategy whose index is written by the store's own scripts, in the same atomic step as the record."""

    @classmethod
    @abstractmethod
    def timers(cls) -> str:
        """Lua text that defines two local functions over this strategy's index.

        ``timer_add(queue, id, due)`` indexes a task (harmless if it is indexed) and returns true if a sleeping
        dispatcher must be woken for it; ``timer_remove(queue, id, due)`` returns true if the task was in the index.
        The names of store/records.lua and keys.py are in scope.
        """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        super().__init__(client, keys)
        self.scripts = Scripts(client, keys, self.timers())
        self._doorbell: Doorbell | None = None

    def wait(self, seconds: float, *, wakeup_fd: int = -1) -> WakeReason | None:
        if self._doorbell is None:
            self._doorbell = Doorbell(self.client, [self.keys.plain("wake")], wakeup_fd=wakeup_fd)
        return "earlier" if self._doorbell.wait(seconds) else None

    def close(self) -> None:
        if self._doorbell is not None:
            self._doorbell.close()
            self._doorbell = None
