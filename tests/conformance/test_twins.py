"""Both stores do the same: the same calls at the same time leave the same keys, and return the same replies.

These tests compare the Lua code with the Python code, step by step: records, journal, leases, counts, quarantine. They
leave out what the stores may do at different moments: wake-ups, the guard, and the signs of life of workers, which an
ack that must get through without scripts does not give.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.world import LEASE_US, TRANSACTIONAL

from dueq.core.app.payload import encode_body
from dueq.core.clock import US, Clock
from dueq.core.config import Settings
from dueq.core.errors import DueqError
from dueq.core.namespace import Namespace
from dueq.core.schema.ownership import StoreKind
from dueq.core.schema.record import Record, encode_record, readable_record
from dueq.core.schema.tail import tail
from dueq.core.store.values import Advance, Cause, Loss, NewTask, Outcome, Step
from dueq.core.upkeep import migration

IDS, QUEUES, WORKERS = [f"t{at}" for at in range(7)], ["q", "p"], ["w1", "w2"]
CAUSES: list[Cause] = ["worker_lost", "unstarted"]
STEPS = 120
_DIFFER = ("meta", "guard", "tmps", "wake", "workers")

pytestmark = [pytest.mark.scripted, pytest.mark.leaves_keys, pytest.mark.parametrize("strategy_name", TRANSACTIONAL)]


class StandingClock(Clock):
    """It goes on only when it is told to."""

    def __init__(self) -> None:
        self.us = 1_800_000_000 * US

    def now_us(self) -> int:
        return self.us


class Twin:
    """One of two namespaces to which the same is done."""

    def __init__(self, url: str, name: str, strategy: str, store: StoreKind, clock: Clock) -> None:
        settings = Settings(redis_url=url, namespace=name, strategy=strategy)
        fresh = Namespace.open(settings)
        migration.begin(fresh, strategy, store=store)
        fresh.close()
        self.space = Namespace.open(settings, owner="me", clock=clock)
        assert self.space.strategy.store == store

    def left(self) -> dict[str, Any]:
        """Every key and what is in it."""
        client: Any = self.space.client
        prefix = self.space.keys.prefix
        found = {
            key.decode().removeprefix(prefix): _value(client, key)
            for key in sorted(client.keys(prefix + "*"))
            if key.decode().removeprefix(prefix) not in _DIFFER and b":bell:" not in key
        }
        return found | {"features": client.hget(self.space.keys.plain("meta"), "features")}

    def wipe(self) -> None:
        for key in self.space.client.keys(self.space.keys.prefix + "*"):
            self.space.client.delete(key)
        self.space.close()


def _value(client: Any, key: bytes) -> Any:
    match client.type(key):
        case b"hash":
            return client.hgetall(key)
        case b"list":
            return client.lrange(key, 0, -1)
        case b"set":
            return client.smembers(key)
        case b"zset":
            return client.zrange(key, 0, -1, withscores=True)
    return client.get(key)


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def twins(redis_url: str, strategy_name: str, clock: StandingClock) -> Iterator[tuple[Twin, Twin]]:
    """A namespace with scripts, and one without."""
    both = (
        Twin(redis_url, "twins", strategy_name, "scripted", clock),
        Twin(redis_url, "twint", strategy_name, "transactional", clock),
    )
    yield both
    for twin in both:
        twin.wipe()


class Story:
    """Calls drawn by chance, with what they need to know of those before."""

    def __init__(self, seed: int, clock: StandingClock) -> None:
        self.chance, self.clock = random.Random(seed), clock
        self.claims: dict[int, tuple[str, Record]] = {}

    def next(self) -> tuple[str, Callable[[Twin], Any]]:
        """A call, and its name."""
        name = self.chance.choice(self.CALLS)
        return name, getattr(self, name)()

    CALLS = (
        *("schedule", "schedule", "dispatch", "dispatch", "take", "take", "take", "settle", "settle", "settle"),
        *("cancel", "reschedule", "again", "give_back", "reap", "release", "extend", "revive", "discard"),
        *("mend", "mend_again", "mend_queues", "damage", "grow", "forget", "time_passes", "time_passes"),
    )

    def note(self, worker: str, step: Advance) -> None:
        for claim in (step.started, *step.held):
            if claim is not None:
                self.claims[claim.token] = (worker, claim)

    def _claim(self) -> tuple[str, Record] | None:
        return self.chance.choice(list(self.claims.values())) if self.claims else None

    def schedule(self) -> Callable[[Twin], Any]:
        ids, queue = self.chance.sample(IDS, self.chance.randint(1, 3)), self.chance.choice(QUEUES)
        due, name = self.chance.choice([0, 0, US // 2, 3 * US]), self.chance.choice(["f", "f", "g"])
        tails = [b"", b"", tail("+5000000", ""), tail("", '{"a":"b"}')]
        tasks = [
            NewTask(task_id, queue, due, encode_body(name, [], {}, 100), True, self.chance.choice(tails))
            for task_id in ids
        ]
        return lambda twin: twin.space.store.schedule(tasks)

    def dispatch(self) -> Callable[[Twin], Any]:
        return lambda twin: twin.space.strategy.dispatch(50)

    def take(self) -> Callable[[Twin], Any]:
        worker, want = self.chance.choice(WORKERS), 1  # of several void entries each may leave other ones for later
        queues = self.chance.choice([QUEUES, QUEUES[:1]])
        start = None
        if (held := self._claim()) is not None and self.chance.random() < 0.4:
            worker, start = held
        start_all = self.chance.random() < 0.5

        def act(twin: Twin) -> Advance:
            step = twin.space.store.advance(Step(worker, queues, LEASE_US, want=want, start=start, start_all=start_all))
            self.note(worker, step)
            return step._replace(held=list(step.held), aside=tuple(step.aside))

        return act

    def settle(self) -> Callable[[Twin], Any]:
        if (claim := self._claim()) is None:
            return self.dispatch()
        until = self.chance.choice([0, 0, 1, self.clock.us + US])
        drawn = Outcome(claim[1], "ack", delay_us=self.chance.choice([0, US]), reason="on purpose", due_us=until)
        outcome = drawn._replace(kind=self.chance.choice(["ack", "ack", "retry", "snooze", "dead"]))
        others = [other for worker, other in self.claims.values() if worker == claim[0] and other.id != claim[1].id]
        acks = {
            other.id: other for other in self.chance.sample(others, min(len(others), self.chance.choice([0, 0, 3])))
        }
        step = Step(claim[0], (), LEASE_US, want=0, outcome=outcome, acks=[*acks.values()])
        return lambda twin: twin.space.store.advance(step)._replace(aside=())

    def cancel(self) -> Callable[[Twin], Any]:
        task_id = self.chance.choice(IDS)
        return lambda twin: twin.space.store.cancel(task_id)

    def reschedule(self) -> Callable[[Twin], Any]:
        task_id, due = self.chance.choice(IDS), self.chance.choice([0, US, 5 * US])
        return lambda twin: twin.space.store.reschedule(task_id, due, relative=True)

    def again(self) -> Callable[[Twin], Any]:
        if (claim := self._claim()) is None:
            return self.dispatch()
        task = NewTask(claim[1].id, self.chance.choice(QUEUES), US, encode_body("f", [2], {}, 100), True)
        if self.chance.random() < 0.3:
            task = task._replace(tail=tail("+1", ""))
        if self.chance.random() < 0.2:
            return lambda twin: twin.space.store.forget_again(task.id, claim[1].token)
        return lambda twin: twin.space.store.again(task, claim[1].token)

    def give_back(self) -> Callable[[Twin], Any]:
        worker, cause = self.chance.choice(WORKERS), self.chance.choice(CAUSES)
        tokens = [token for token, (owner, _) in self.claims.items() if owner == worker]
        begun = self.chance.sample(tokens, min(1, len(tokens)))
        most, running = self.chance.choice([0, 1, 3]), self.chance.choice([None, 0, *begun])
        now = self.clock.us
        return lambda twin: twin.space.store.give_back(
            Loss(worker, cause, most, now, "was killed", begun=begun, running=running)
        )

    def reap(self) -> Callable[[Twin], Any]:
        # the lives of workers are left out
        return lambda twin: replace(twin.space.store.reap(10, LEASE_US, 3), next_us=None, silent_workers=[])

    def release(self) -> Callable[[Twin], Any]:
        if (claim := self._claim()) is None:
            return self.dispatch()
        return lambda twin: twin.space.store.release(claim[0], [claim[1]])

    def extend(self) -> Callable[[Twin], Any]:
        if (claim := self._claim()) is None:
            return self.dispatch()
        return lambda twin: twin.space.store.extend(claim[0], [claim[1]], LEASE_US)

    def revive(self) -> Callable[[Twin], Any]:
        return lambda twin: twin.space.store.revive(IDS)

    def discard(self) -> Callable[[Twin], Any]:
        ids = self.chance.sample(IDS, 2)
        return lambda twin: twin.space.store.discard(ids)

    def mend(self) -> Callable[[Twin], Any]:
        task_id = self.chance.choice(IDS)

        def act(twin: Twin) -> bool:
            raw = twin.space.store.shards([twin.space.keys.record(task_id)]).get(task_id)
            return raw is not None and twin.space.store.mend(task_id, raw)

        return act

    def mend_again(self) -> Callable[[Twin], Any]:
        task_id = self.chance.choice(IDS)
        return lambda twin: twin.space.store.mend_again(task_id)

    def mend_queues(self) -> Callable[[Twin], Any]:
        return lambda twin: twin.space.store.mend_queues(QUEUES)

    def damage(self) -> Callable[[Twin], Any]:
        task_id = self.chance.choice(IDS)
        raw = self.chance.choice([b"rubbish", b"99|a newer dueq's"])
        if self.chance.random() < 0.7:
            return self.dispatch()
        return lambda twin: twin.space.client.hset(twin.space.keys.record(task_id), task_id, raw)

    def grow(self) -> Callable[[Twin], Any]:
        """A newer dueq writes a field that this one does not know."""
        task_id = self.chance.choice(IDS)

        def act(twin: Twin) -> None:
            raw: Any = twin.space.client.hget(twin.space.keys.record(task_id), task_id)
            if (record := readable_record(task_id, raw)) is not None and record.format == "2":
                grown = encode_record(record._replace(tail=b"later=1;"))
                twin.space.client.hset(twin.space.keys.record(task_id), task_id, grown)

        return act

    def forget(self) -> Callable[[Twin], Any]:
        queue, task_id = self.chance.choice(QUEUES), self.chance.choice(IDS)

        def act(twin: Twin) -> tuple[bool, int]:
            scheduled = twin.space.store.producer_counts().get(("scheduled", queue), 0)
            return (
                twin.space.store.forget_queue(queue, scheduled),
                twin.space.store.forget_revoked({task_id: 1}),
            )

        return act

    def time_passes(self) -> Callable[[Twin], Any]:
        self.clock.us += self.chance.choice([1, US // 3, US, LEASE_US])
        return lambda twin: None


@pytest.mark.parametrize("seed", range(6))
def test_they_do_the_same(twins: tuple[Twin, Twin], clock: StandingClock, seed: int) -> None:
    story = Story(seed, clock)
    for twin in twins:
        twin.space.store.knows(["f"] if seed % 2 else None)
    formats = [("2", "2"), ("1", "1"), ("1", "2")][seed % 3]
    for number in range(STEPS):
        if number in (0, STEPS // 2):
            for twin in twins:
                meta = twin.space.keys.plain("meta")
                twin.space.client.hset(meta, "format", formats[number > 0])
        name, call = story.next()
        answers = [_answer(call, twin) for twin in twins]
        assert answers[0] == answers[1], name
        left = [twin.left() for twin in twins]
        assert left[0] == left[1], name


def _answer(call: Callable[[Twin], Any], twin: Twin) -> Any:
    try:
        return call(twin)
    except DueqError as error:
        return type(error), str(error).replace(twin.space.keys.namespace, "")
