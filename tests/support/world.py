"""A namespace for one test: short-hands for its transitions, and the check that no key of it is left."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from dueq import strategies
from dueq.core.app.payload import encode_body
from dueq.core.client.connection import connect
from dueq.core.client.listener import Listener
from dueq.core.clock import US, Clock, now_us
from dueq.core.config import Settings
from dueq.core.namespace import Namespace
from dueq.core.schema.format import NEWEST
from dueq.core.schema.record import Record
from dueq.core.store.base import Store
from dueq.core.store.strategy import Dispatched, Moved, ScriptedStrategy, Strategy
from dueq.core.store.values import Advance, Loss, NewTask, Outcome, Scheduled, Step

LEASE_US = 60 * US
MANY = 1000
_KEPT = ("meta", "queues", "token", "stats", "wake", "guard", "audited", "recovered", "rehearsed")


SCRIPTED = [name for name in strategies.names() if issubclass(strategies.find(name), ScriptedStrategy)]
"""The strategies that need scripts."""
TRANSACTIONAL = [name for name in strategies.names() if name not in SCRIPTED]
"""The strategies that need no scripts: on a server without scripts they have the transactional store."""


class MovableClock(Clock):
    """This host's clock, set ahead by as much as a test wants."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def now_us(self) -> int:
        return now_us() + self.ahead_us


class World:
    """The namespace ``name`` on the server at ``url``, owned by ``strategy``, with any number of actors.

    Strategies that need no scripts go by ``clock`` here: otherwise one that rounds due times up would take a second for
    each dispatch.
    """

    def __init__(self, url: str, name: str, strategy: str, *, seen_as: str = "", format_: str = NEWEST) -> None:
        """``seen_as`` is the actors' address of the same server, if they use another Redis user. ``format_`` is the
        format of the namespace's records."""
        self.settings = Settings(redis_url=seen_as or url, namespace=name, strategy=strategy)
        self.redis = connect(url)
        self.format = format_
        self.clock = MovableClock()
        self.resolution_us = int(strategies.find(strategy).resolution * US)
        self._actors: list[Namespace] = []
        self._ids: set[str] = set()
        self._workers: set[str] = set()
        self._names = itertools.count(1)
        self.main = self.actor()
        self.keys = self.main.keys
        if format_ != NEWEST:
            self.redis.hset(self.keys.plain("meta"), "format", format_)

    # -- actors

    def actor(self, owner: str | None = None) -> Namespace:
        """One more process's view of the namespace, with connections of its own; ``owner`` is its name."""
        clock = None if self.settings.strategy in SCRIPTED else self.clock
        namespace = Namespace.open(self.settings, owner=owner, clock=clock)
        self._actors.append(namespace)
        return namespace

    def adopt(self, namespace: Namespace) -> Namespace:
        """Close ``namespace`` at the end, too."""
        self._actors.append(namespace)
        return namespace

    @property
    def store(self) -> Store:
        return self.main.store

    @property
    def strategy(self) -> Strategy:
        return self.main.strategy

    @property
    def scripted(self) -> bool:
        """Whether the namespace uses the scripted store."""
        return self.strategy.store == "scripted"

    def listener(self, *queues: str) -> Listener:
        """What an idle worker of ``queues`` waits on."""
        return Listener(self.main.client, [self.keys.of("wakeup", queue) for queue in queues])

    # -- short-hands

    def now_us(self) -> int:
        """The clock that the strategy goes by."""
        return self.store.time_us()

    def round_up(self) -> None:
        """Move the clock to the next instant to which the strategy rounds, so that it finds what is due now."""
        if self.resolution_us:
            self.clock.ahead_us += -self.clock.now_us() % self.resolution_us

    def schedule(
        self,
        *ids: str,
        queue: str = "q",
        delay_us: int = 0,
        due_us: int | None = None,
        store: Store | None = None,
        calls: str = "f",
    ) -> list[Scheduled]:
        """Schedule tasks of these ids at ``due_us``, or else ``delay_us`` from now."""
        self._ids.update(ids)
        due, relative = (delay_us, True) if due_us is None else (due_us, False)
        body = encode_body(calls, [], {}, 1000)
        return (store or self.store).schedule([NewTask(task_id, queue, due, body, relative) for task_id in ids])

    def note(self, *ids: str) -> None:
        """Also clean up tasks of these ids, which a test schedules by itself."""
        self._ids.update(ids)

    def ready(self, *ids: str, queue: str = "q", calls: str = "f") -> None:
        """Schedule tasks of these ids, due now, and dispatch them: up to ten in this order, more in any order."""
        groups = [(task_id,) for task_id in ids] if len(ids) <= 10 else [ids]
        for group in groups:
            assert {result.existing for result in self.schedule(*group, queue=queue, calls=calls)} <= {""}
            moved = 0
            while moved < len(group):  # the strategy may round due times up
                moved += len(self.dispatch_all())

    def dispatch_all(self, strategy: Strategy | None = None) -> list[Moved]:
        """Dispatch until nothing is due. Returns all tasks moved."""
        self.round_up()
        moved: list[Moved] = []
        for _ in range(MANY):
            result: Dispatched = (strategy or self.strategy).dispatch(100)
            moved += result.moved
            if result.next_in != 0:
                return moved
        raise AssertionError("the dispatcher never comes to an end")

    def take(
        self,
        worker: str = "w1",
        *queues: str,
        want: int = 1,
        lease_us: int = LEASE_US,
        outcome: Outcome | None = None,
        start: Record | None = None,
        acks: Sequence[Record] = (),
        start_all: bool = False,
        store: Store | None = None,
    ) -> Advance:
        """One ``advance`` of ``worker`` on ``queues`` (default: ``q``)."""
        self._workers.add(worker)
        advance = (store or self.store).advance
        step = advance(Step(worker, queues or ("q",), lease_us, want, outcome, start, acks, start_all))
        for claim in [step.started, *step.held]:
            assert claim is None or claim.due_us <= step.now_us, "early"
        return step

    def started(self, worker: str = "w1", *queues: str, lease_us: int = LEASE_US) -> Record:
        """Start a task on ``worker``; fails if there is none."""
        step = self.take(worker, *queues, lease_us=lease_us)
        assert step.started is not None
        return step.started

    def settle(self, worker: str, outcome: Outcome) -> str:
        """Settle an outcome without taking a new task. Returns the result of settling."""
        return self.take(worker, want=0, outcome=outcome).settled

    def states(self, queue: str = "q") -> dict[str, int]:
        """How many tasks of ``queue`` are in each state."""
        depth, [census] = self.store.depth(queue), self.strategy.census([queue])
        return {"scheduled": census.scheduled, "ready": depth.ready, "leased": depth.leased, "dead": depth.dead}

    def unclaimed(self, queue: str = "q") -> int:
        """How many tasks of ``queue`` are put aside."""
        return sum(tasks for (of, _), tasks in self.store.unclaimed().items() if of == queue)

    def drain(self, worker: str = "drain") -> list[Record]:
        """Run and acknowledge all due tasks. Returns every start."""
        started: list[Record] = []
        queues = self.store.queues()
        outcome: Outcome | None = None
        for _ in range(MANY * 10):
            self.dispatch_all()
            step = self.take(worker, *queues, outcome=outcome)
            if step.started is None:
                if not any(self.redis.llen(self.keys.of("ready", queue)) for queue in queues):
                    return started
                outcome = None
                continue
            started.append(step.started)
            outcome = Outcome(step.started, "ack")
        raise AssertionError("the queue never comes to an end")

    # -- the end

    def tidy(self) -> None:
        """Let the strategy remove keys that it leaves for a moment because clocks may differ."""
        if self.resolution_us:
            ahead = 3 * self.resolution_us
            if getattr(self.strategy, "lazy", False):  # until a dispatcher meets the last void entry
                heads: list[Any] = [self.redis.zrange(key, -1, -1) for key in self.found() if b":seconds:" in key]
                last = max((int(second) * US for [second] in heads), default=0)
                ahead += max(0, last - self.now_us())
            self.clock.ahead_us += ahead
            self.dispatch_all()
            self.dispatch_all()  # removes what the first call has emptied

    def leftovers(self) -> list[str]:
        """Keys that a namespace without tasks should not have."""
        self.tidy()
        kept = {self.keys.plain(name) for name in _KEPT}
        wakeups = self.keys.of("wakeup", "names:")  # these are removed with the names, a day later
        found = {key.decode() for key in self.found() if not key.decode().startswith(wakeups)}
        return sorted(found - kept - {*self.keys.journals()})

    def finish(self) -> None:
        """Take all tasks back, and run, cancel or discard them, by the public interfaces: no key may be left."""
        for worker in sorted(self._workers):
            self.store.give_back(Loss(worker, "unstarted", MANY))
        for task_id in sorted(self._ids):
            self.store.cancel(task_id)
        self.drain()
        self.store.discard(sorted(self._ids))
        assert self.leftovers() == []
        assert self.redis.llen(self.keys.plain("wake")) <= 1

    def wipe(self) -> None:
        """Delete every key. That is quicker than to finish many thousand tasks, but it proves nothing."""
        self._ids.clear()
        if keys := self.found():
            self.redis.delete(*keys)

    def close(self) -> None:
        """Delete what is left and close every connection."""
        for actor in self._actors:
            actor.close()
        self.wipe()
        self.redis.connection_pool.disconnect()

    def found(self) -> list[bytes]:
        """Every key of the namespace."""
        found: Any = self.redis.keys(self.keys.prefix + "*")  # not every server knows SCAN
        return list(found)


def keeps_scripted(url: str, strategy: str) -> bool:
    """Whether a new namespace of ``strategy`` has the scripted store on the server at ``url``."""
    world = World(url, "probe", strategy)
    try:
        return world.scripted
    finally:
        world.close()
