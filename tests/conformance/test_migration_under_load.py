"""A namespace moves from strategy to strategy while producers, a canceller and dispatchers go on, in threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from support.moving import migrate, visitor
from support.older import AGED, SCRIPTLESS
from support.servers import Server
from support.waiting import wait_until
from support.world import SCRIPTED, World

from dueq import Dueq, strategies
from dueq.core.errors import NamespaceMigrating, StrategyMismatch
from dueq.core.namespace import Namespace
from dueq.core.store.transactional.edit import entry_of

pytestmark = pytest.mark.one_server


@pytest.mark.timeout(120)
def test_producers_and_dispatchers_go_on_while_a_namespace_moves_from_strategy_to_strategy(
    redis_url: str, server: Server
) -> None:
    names = [name for name in strategies.names() if server.name not in (AGED, SCRIPTLESS) or name not in SCRIPTED]
    old = World(redis_url, "load", names[0])
    old.main.claim()  # a producer that comes first would choose the default, which not every server can carry
    others = Others(redis_url, old.keys.namespace)
    try:
        for target in [*names[1:], *names[::2], names[1]]:
            dispatching = others.start(others.dispatch_until_refused, visitor(old))
            for act in (others.schedule, others.schedule_many, others.cancel):
                others.start(act)
            others.wait_for_more()
            migrate(old, target)
            others.wait_for_more()
            dispatching.join(10)
            assert not dispatching.is_alive(), "the old strategy was not refused"
            others.end()
        _all_are_there(World(redis_url, old.keys.namespace, target), others)
    finally:
        others.end()
        old.close()


def nothing() -> None:
    """A task that is never run."""


class Others:
    """What others do meanwhile; ``due`` and ``far`` are ids of what was scheduled, as they were told."""

    def __init__(self, url: str, namespace: str) -> None:
        self._apps = [Dueq(url, namespace=namespace) for _ in range(3)]
        self._later = self._apps[1].task(queue="far")(nothing)
        self._ending = threading.Event()
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self.due, self.far = set[str](), set[str]()

    def start(self, act: Callable[..., None], *arguments: Namespace) -> threading.Thread:
        def run() -> None:
            try:
                while not self._ending.is_set():
                    act(*arguments)
                    time.sleep(0.01)  # or there would be too much to move
            except StrategyMismatch:
                assert act == self.dispatch_until_refused
            except BaseException as error:
                self._errors.append(error)
                raise

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)
        return thread

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()
        self._ending.clear()
        assert self._errors == []

    def wait_for_more(self) -> None:
        before = len(self.due), len(self.far)
        wait_until(lambda: len(self.due) > before[0] + 20 and len(self.far) > before[1] + 100, 10)

    def schedule(self) -> None:
        self.due.add(self._apps[0].schedule_task(0, "x").id)

    def schedule_many(self) -> None:
        handles = self._apps[1].schedule_many([self._later.call_after(3600)() for _ in range(10)])
        assert all(handle.created for handle in handles), "its own were taken for others' tasks"
        self.far |= {handle.id for handle in handles}

    def cancel(self) -> None:
        handle = self._apps[2].schedule_task(time.time() + 3600, "x")
        try:
            assert handle.cancel()
        except NamespaceMigrating:
            self.far.add(handle.id)

    def dispatch_until_refused(self, namespace: Namespace) -> None:
        namespace.strategy.dispatch(10)


def _all_are_there(world: World, others: Others) -> None:
    """Every task is where it should be, once."""
    queues = world.store.queues()
    try:
        assert sum(census.scheduled for census in world.strategy.census(queues)) >= len(others.far)
        runs: Counter[str] = Counter()

        def all_ran() -> bool:
            runs.update(record.id for record in world.drain())
            return len(runs) >= len(others.due)

        wait_until(all_ran, 30)
        assert runs == dict.fromkeys(others.due, 1)
        far = [entry_of(record) for task_id in others.far if (record := world.store.record(task_id)) is not None]
        assert len(far) == len(others.far)
        assert world.strategy.missing(far) == []
        assert sum(census.scheduled for census in world.strategy.census(queues)) == len(far)
    finally:
        world.close()
