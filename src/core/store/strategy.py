"""The interface of a strategy, which is also its specification.

A strategy owns one arrow of a task's life, SCHEDULED → READY: how due tasks are found, how a dispatcher sleeps, and
what wakes it. The record of a task belongs to the store; what a strategy keeps beside it is an index that can be
rebuilt from the records. A strategy knows nothing of processes or metrics: it returns what happened.

The store writes the index together with the record: by Lua where the server runs scripts, by commands inside MULTI
where it does not. To add a strategy, subclass ``ScriptedStrategy`` (Lua only) or ``TransactionalStrategy`` (commands,
and Lua, too, if it has ``timers``), and name the class in the entry-point group ``dueq.strategies``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import redis

from ..client.listener import Listener
from ..client.protocol import Command
from ..client.transactions import Session, Transactions
from ..clock import Clock
from ..schema.helper_keys import repair
from ..schema.keys import Keys
from ..schema.ownership import Ownership, StoreKind
from ..schema.script import Value
from ..schema.scripts import Scripts

WakeReason = Literal["due", "earlier", "event", "safety_net"]
"""Why a dispatcher woke: its timer ran out, an earlier task was scheduled, an event came, or the safety-net interval
passed."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a server must offer for a strategy to run on it.

    ``scripts`` says that it cannot run without them. ``notifications`` are the flags of notify-keyspace-events that
    must be set, or that dueq can add, and ``events`` is the family of keys (keys.py) whose events it listens to.
    ``commands`` are those that the strategy sends, in its scripts too, beside those that dueq sends anyway
    (permissions.py).
    """

    version: tuple[int, int]
    scripts: bool = False
    notifications: str = ""
    events: str = ""
    commands: tuple[str, ...] = ()


class Entry(NamedTuple):
    """A scheduled task as an index has it: its queue, its id, and its due time in epoch microseconds."""

    queue: str
    id: str
    due_us: int


class Moved(NamedTuple):
    """A task that was made ready: its queue, its lateness in seconds, and its id."""

    queue: str
    seconds: float
    id: str


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one ``dispatch`` did.

    ``moved`` has every task moved; ``next_in`` is the exact number of seconds until the next is due (0: more are due
    already; None: none is scheduled). ``conflicts`` counts the attempts that came to nothing because another
    dispatcher, or a cancel, was faster. ``now_us`` is the moment that ``next_in`` counts from, in epoch microseconds by
    the strategy's clock; 0: not known, which costs punctuality. ``next_queue`` is the queue of the next task, if the
    strategy knows it: workers of that queue are then woken a moment before (``Store.rehearse``).
    """

    moved: list[Moved] = field(default_factory=list)
    next_in: float | None = None
    conflicts: int = 0
    now_us: int = 0
    next_queue: str = ""


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
    resolution: ClassVar[float] = 0.0
    """Due times are rounded up to a multiple of this many seconds; 0: they stay exact to the microsecond."""
    lazy: ClassVar[bool] = False
    """Whether a task that is taken out of the index leaves its entry there. The store counts that entry as void, like
    one in a ready list, and the step that finds it drops it."""
    store: StoreKind
    """The store that writes its index; ``Namespace`` puts both together."""

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock | None = None) -> None:
        """Keep the arguments; send nothing yet.

        ``owner`` names this process, uniquely. ``clock`` is the clock to use; None: Redis's.
        """
        self.client, self.keys, self.owner = client, keys, owner
        self._listener: Listener | None = None

    @classmethod
    @abstractmethod
    def stores(cls) -> tuple[StoreKind, ...]:
        """The stores that can write its index, the better first."""

    @property
    def ownership(self) -> Ownership:
        """The ownership of a namespace that this strategy, with its store, may work on."""
        return Ownership(self.name, self.store)

    @abstractmethod
    def dispatch(self, limit: int) -> Dispatched:
        """Move up to about ``limit`` due tasks from the index to the ready lists, waking their workers.

        A task is eligible when its due time is not after the clock. Whichever process is killed at whichever instant, a
        task stays in the index, or is in its ready list, or ``recover`` finds it. Any number of dispatchers may call
        this at once. Raises StrategyMismatch, and moves nothing, if another strategy owns the namespace by now, and
        NamespaceMigrating while its tasks are being moved to this strategy.
        """

    def wait(self, seconds: float, *, wakeup_fd: int = -1) -> WakeReason | None:
        """Sleep until woken, at most ``seconds`` and precise to well under 10 ms; None if that time passed.

        Must not poll. A task scheduled before all others, by any process, ends the sleep at once. ``wakeup_fd``, once
        readable, ends it too.
        """
        return "earlier" if self.listener(wakeup_fd).wait(seconds) else None

    @abstractmethod
    def recover(self, dispatcher: str = "", *, silent_for: float = 0.0) -> int:
        """Put back tasks that a dead dispatcher had taken out of the index and not made ready yet; returns how many.

        ``dispatcher`` is its name (its ``owner``); if empty, every dispatcher counts whose work has stood still for
        ``silent_for`` seconds. Such a dispatcher may wake up again: it must then find its work gone. Repeating is safe.
        """

    def busy_dispatchers(self) -> list[str]:
        """The names of the dispatchers that have tasks in hand: out of the index, and not ready yet."""
        return []

    @abstractmethod
    def census(self, queues: Sequence[str]) -> list[Census]:
        """Count the scheduled tasks of each queue, at a cost that does not grow with their number."""

    def first_due(self, queues: Sequence[str]) -> list[int | None]:
        """When the first scheduled task of each queue is due (epoch microseconds; None: none is scheduled).

        Idle processes ask this all the time, so it should cost less than a census where possible. It may report a task
        that was just moved or cancelled.
        """
        return [census.oldest_due_us for census in self.census(queues)]

    def earliest(self, queues: Callable[[], Sequence[str]]) -> list[int]:
        """When the first task of each queue that has any is due (epoch microseconds); the earliest ten at least.

        ``queues`` returns the names of all queues, for an index that has to be asked queue by queue. See ``first_due``.
        """
        return [due for due in self.first_due(queues()) if due is not None]

    @abstractmethod
    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of ``entries`` that are not in the index. For migrations; no step of it is long.

        Callers pass many entries (ten thousand) at once, since a call may have to look through the whole index.
        """

    @abstractmethod
    def pages(self, queue: str) -> Iterator[list[str]]:
        """The ids of all tasks of ``queue`` that the strategy has, about a thousand a page; an empty page for none.

        First come the tasks in the index, then those that a dispatcher has taken out of it and not made ready yet. A
        task that the strategy has all the while is on one page at least; other ids may be on several pages, or on none.
        A page takes a few round trips at most. For the auditor.
        """

    @abstractmethod
    def add(self, entries: Sequence[Entry]) -> list[Command]:
        """Commands that index these tasks, none of which is in the index, to be sent inside MULTI."""

    def mend(self, queues: Sequence[str]) -> list[str]:
        """Repair what the index keeps of ``queues`` (a hundred at most) beside their tasks; returns those where it was
        wrong. For the auditor, and for an engine that finds an index written by an older dueq."""
        return []

    @abstractmethod
    def clear(self, queues: Sequence[str]) -> None:
        """Forget the whole index, in bounded steps: the namespace is purged, or owned by another strategy now."""

    def listener(self, wakeup_fd: int = -1) -> Listener:
        """The listener that ``wait`` waits on. A step that indexes a task wakes it, if nothing else is due before."""
        if self._listener is None:
            self._listener = Listener(self.client, [self.keys.plain("wake")], wakeup_fd=wakeup_fd)
        return self._listener

    def doorbell(self, wakeup_fd: int = -1) -> Listener:
        """The older name of ``listener``, for strategies of third parties."""
        return self.listener(wakeup_fd)

    def close(self) -> None:
        """Close what ``wait`` opened. Used again afterwards, the strategy reconnects."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def fitting(strategy: type[Strategy], store: StoreKind) -> Ownership:
    """How ``strategy`` can own a namespace: with ``store`` if that can write its index, else with the one that can."""
    possible = strategy.stores()
    return Ownership(strategy.name, store if store in possible else possible[0])


class TransactionalStrategy(Strategy):
    """A strategy whose index can be changed by commands inside MULTI, together with the record.

    Every step that takes a task out of the index, this strategy's ``dispatch`` included, touches the key ``guard`` in
    the same transaction. A step that must know where a task is watches the guard. Producers only add tasks, and never
    touch it.
    """

    store: StoreKind = "transactional"

    @classmethod
    def timers(cls) -> str:
        """Lua text that writes the same index, as in ``ScriptedStrategy``. Empty if there is none: then the strategy
        has the transactional store on every server.

        ``timer_remove`` must touch ``key_guard()`` if ``dispatch`` watches it. In a lazy index it leaves the entry
        where it is, notes in the census that the entry does not count, and returns false. A lazy index has two more
        functions. ``timer_holds(queue, id, due)`` returns whether the entry is there; nil if finding out would cost
        much. ``timer_show(queue, due)`` lets dispatchers find the place of an entry again, and returns true if they did
        not find it before.
        """
        return ""

    @classmethod
    def stores(cls) -> tuple[StoreKind, ...]:
        writes = min(_depth(cls, "add"), _depth(cls, "remove"))  # a subclass that writes otherwise needs its own text
        scripted = cls.timers() and _depth(cls, "timers") <= writes
        return ("scripted", "transactional") if scripted else ("transactional",)

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock) -> None:
        super().__init__(client, keys, owner, clock)
        self.clock = clock
        self.transactions = Transactions(client, repair(keys))

    @abstractmethod
    def remove(self, entries: Sequence[Entry]) -> list[Command]:
        """Commands that take these tasks, which are in the index, out of it, to be sent inside MULTI."""

    @abstractmethod
    def contains(self, session: Session, entry: Entry) -> bool:
        """Whether ``entry`` is in the index. This holds as long as nobody touches the guard, which the session watches.

        In a lazy index, a void entry counts, too.
        """

    def counts(self, session: Session, entry: Entry) -> bool:
        """The same for a task that is to be removed. A lazy index may guess, where only its census is at stake."""
        return self.contains(session, entry)

    def place(self, entry: Entry) -> str:
        """The key of the list that holds ``entry``, in an index of lists by due time: perhaps only this task's record
        leads to that list. Empty: the index has no such lists."""
        return ""

    def way_to(self, session: Session, entry: Entry) -> list[Command]:
        """Commands that let dispatchers find ``entry`` again, which is in the index; none if they find it already."""
        return []

    @abstractmethod
    def head(self, entry: Entry) -> Command:
        """A command from whose reply ``leads`` sees whether a task of this queue is due before ``entry``."""

    @abstractmethod
    def leads(self, reply: Any, entry: Entry) -> bool:
        """Whether nothing is due before ``entry``, so that a sleeping dispatcher must be woken for it."""

    def touch_guard(self) -> Command:
        """The command that touches the guard: steps that watch it must look again."""
        return ("INCR", self.keys.plain("guard"))


def _depth(kind: type, name: str) -> int:
    """How many classes above ``kind`` the nearest definition of ``name`` is."""
    return next(depth for depth, one in enumerate(kind.__mro__) if name in vars(one))


class ScriptedStrategy(Strategy):
    """A strategy whose index is written by the store's own scripts, in the same atomic step as the record."""

    store: StoreKind = "scripted"

    @classmethod
    def stores(cls) -> tuple[StoreKind, ...]:
        return ("scripted",)

    @classmethod
    @abstractmethod
    def timers(cls) -> str:
        """Lua text that defines two local functions over this strategy's index.

        ``timer_add(queue, id, due)`` indexes a task (harmless if it is indexed) and returns true if a sleeping
        dispatcher must be woken for it; ``timer_remove(queue, id, due)`` returns true if the task was in the index.
        ``timer_add`` may get two more arguments, for speed: the due time as text, and true if a task of this queue that
        is due no later was indexed just before, so that nobody must be woken for this one.

        These names are in scope, and stay: ``P`` (the prefix of all keys), ``now``, ``whole(number)`` (as text),
        ``key_timer(queue)``, ``key_ready(queue)``, ``key_alarm(name)``, ``key_queues()``; ``refused(true)``, to be
        called first in a dispatch; ``wake_workers(queue, tasks)``, to be called with every push to a ready list, since
        it also marks the queue busy; ``wake_dispatcher()``; and for a strategy that keeps due times in
        ``key_timer(queue)``, and wants to look only at queues that are due: ``key_heads()``, ``leads`` and
        ``note_head`` (schema/records.lua). Older names of these still work (schema/lua_names.py).
        """

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock | None = None) -> None:
        super().__init__(client, keys, owner, clock)
        now: Callable[[], int] | None = None if clock is None else clock.now_us
        self.scripts = Scripts(client, keys, self.name, self.timers(), now)
        self._add = self.scripts.load(__package__, "add")

    def recover(self, dispatcher: str = "", *, silent_for: float = 0.0) -> int:
        return 0  # a script is done whole or not at all: no dispatcher ever holds anything

    def add(self, entries: Sequence[Entry]) -> list[Command]:
        arguments: list[Value] = [value for entry in entries for value in (entry.queue, entry.id, entry.due_us)]
        return [self._add.command(*arguments)]
