"""Audits of a namespace in which everything works at the same time: no task is lost, so no repair may be made."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from redis.exceptions import ResponseError
from support.audits import HOUR_US, Audits
from support.world import LEASE_US, World

from dueq.core.schema.record import Record
from dueq.core.store.values import Loss, NewTask, Outcome, Step

pytestmark = pytest.mark.one_server

QUEUES = ("q", "other")
SECONDS = 3.0
GRACE = 0.5
"""Longer than a thread is kept waiting in the middle of something, here where many share two processors."""


class Work:
    """Producers, dispatchers and workers, each in a thread with connections of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dropped: list[str] = []
        self.ended = 0
        self.errors: list[BaseException] = []
        self._numbers = itertools.count()
        self._stopping = threading.Event()
        work = [self.produce, self.produce, self.dispatch, self.dispatch, self.work, self.work, self.work]
        self._threads = [threading.Thread(target=self._run, args=(one, number)) for number, one in enumerate(work)]

    def __enter__(self) -> Work:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001  # told by the test, in the main thread
            self.errors.append(error)

    def produce(self, number: int) -> None:
        """Schedule tasks soon and far, change some minds."""
        store, chance, ids = self.world.actor().store, random.Random(number), ["none"]
        while not self._stopping.wait(0.003):
            new = [f"t{next(self._numbers)}" for _ in range(chance.choice((1, 1, 5)))]
            delay, queue = chance.choice((0, 0, 20_000, HOUR_US)), chance.choice(QUEUES)
            store.schedule([NewTask(task_id, queue, delay, b'["f",[]]', True) for task_id in new])
            ids += new
            some = chance.choice(ids[-30:])
            match chance.randrange(4):
                case 0:
                    store.cancel(some)
                case 1:
                    store.reschedule(some, chance.choice((0, 10_000, HOUR_US)), relative=True)
        for task_id in ids:
            store.cancel(task_id)

    def dispatch(self, number: int) -> None:
        strategy = self.world.actor().strategy
        while not self._stopping.is_set():
            if strategy.dispatch(20).next_in != 0:
                time.sleep(0.002)

    def work(self, number: int) -> None:
        """Take, settle in every way, give back; under a new name now and then, as after a restart."""
        store, chance = self.world.actor().store, random.Random(number)
        held: list[Record] = []
        outcome: Outcome | None = None
        for turn in itertools.count():
            worker = f"w{number}.{turn // 50}"
            start = held.pop(0) if held else None
            step = store.advance(Step(worker, QUEUES, LEASE_US, want=0 if held else 3, outcome=outcome, start=start))
            self.dropped += step.dropped
            self.ended += outcome is not None and step.settled == "done"
            held += step.held
            outcome = None
            if step.started is not None:
                store.extend(worker, [step.started], LEASE_US)
                retry = Outcome(step.started, "retry", delay_us=10_000)
                dead = Outcome(step.started, "dead", reason="why")
                outcome = chance.choice([*[Outcome(step.started, "ack")] * 8, retry, dead, None])
            elif not held:
                time.sleep(0.002)
            if chance.random() < 0.1:
                store.release(worker, held)
                held = []
            if turn % 50 == 49 or self._stopping.is_set():
                store.give_back(Loss(worker, "worker_lost", 1000))
                held, outcome = [], None
                if self._stopping.is_set():
                    return


@pytest.mark.in_turn
def test_nothing_is_put_right_while_everybody_works(world: World) -> None:
    audits = Audits(world, world.actor(), grace=GRACE)
    finished = 0
    with Work(world) as work:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            world.redis.delete(world.keys.plain("audited"))
            with suppress(ResponseError):
                audits.run()
            finished += 1
    assert work.errors == []
    assert audits.repairs == {}
    assert work.dropped == []
    assert work.ended > 100
    assert Audits(world).run() == {}
    letters = [letter.record.id for queue in QUEUES for letter in world.store.dead(queue, 0, 10_000)]
    world.store.discard(letters)
    world.drain()
    assert Audits(world).run() == {}
