"""Producers that were there before a migration follow it by themselves, and get true answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.mortal import interrupted
from support.moving import HOUR_US, migrate, visitor
from support.servers import Load
from support.world import World

from dueq import Dueq
from dueq.core.errors import NamespaceMigrating, StrategyMismatch
from dueq.core.schema.bounds import MOST_TASKS
from dueq.core.upkeep import migration

_numbers = itertools.count(1)
MANY = 250


@pytest.fixture
def other(strategy_name: str) -> str:
    """Some strategy that runs everywhere, and is not the one of this test."""
    return "watch" if strategy_name != "watch" else "tmpset"


@pytest.fixture
def old(redis_url: str, strategy_name: str) -> Iterator[World]:
    """The namespace before."""
    world = World(redis_url, f"followed{next(_numbers)}", strategy_name)
    world.main.claim()
    yield world
    world.close()


def _app(world: World, strategy: str | None = None) -> Dueq:
    app = Dueq(world.settings.redis_url, namespace=world.keys.namespace, strategy=strategy)
    app.handler(_nothing)
    return app


def _nothing(data: Any) -> None:
    """A task that is never run."""


def _later(app: Dueq, count: int) -> list[Any]:
    return [app.find("dueq.handler").call_after(3600)(number) for number in range(count)]


def test_a_producer_follows(old: World, other: str) -> None:
    app = _app(old)
    before = app.schedule_many(_later(app, 3))
    begun = migration.begin(visitor(old), other)
    assert begun is not None
    during = app.schedule_many(_later(app, MANY))
    assert all(handle.created for handle in during)
    refusals: list[Callable[[], bool]] = [before[0].cancel, lambda: during[0].reschedule(after=1)]
    for refused in refusals:
        with pytest.raises(NamespaceMigrating, match=f"dueq migrate --to {other}"):
            refused()
    assert begun.run() == 3
    assert before[0].cancel()
    assert before[1].reschedule(after=7200)
    assert during[0].cancel()
    assert visitor(old).strategy.census(["default"])[0].scheduled == 2 + MANY - 1
    migrate(old, old.settings.strategy or "")
    assert before[1].cancel(), "asked first by this, it follows, too"


def test_a_producer_that_asks_for_a_strategy_is_refused(old: World, other: str) -> None:
    app = _app(old, old.settings.strategy)
    [handle] = app.schedule_many(_later(app, 1))
    migrate(old, other)
    for refused in (handle.cancel, lambda: app.schedule_many(_later(app, 1))):
        with pytest.raises(StrategyMismatch, match=f"owned by strategy '{other}'"):
            refused()


def test_many_tasks_of_which_the_first_were_scheduled_before_it_began(old: World, other: str, load: Load) -> None:
    """Whoever schedules is told how many that were, so that these are not taken for others' when the rest follows."""

    def at(k: int) -> tuple[int, int]:
        world = World(old.settings.redis_url or "", f"followed{next(_numbers)}", old.settings.strategy or "")
        sent = itertools.count(1)

        def meanwhile() -> None:
            if next(sent) == k:
                migrate(world, other)

        try:
            actor = interrupted(world.actor(), meanwhile)
            ids = [f"t{number}" for number in range(MANY)]
            try:
                done = world.schedule(*ids, delay_us=HOUR_US, store=actor.store)
            except StrategyMismatch as error:
                done = list(error.scheduled)
            there = [task_id for task_id in ids if visitor(world).store.record(task_id) is not None]
            assert there == ids[: len(done)]
            return next(sent) - 1, len(done)
        finally:
            world.close()

    at(0)  # the server may see these scripts for the first time, which costs commands more
    sent, done = at(0)
    assert done == MANY
    seen = {at(k)[1] for k in load.of(range(1, sent + 1, 1 if sent < 20 else 97))}
    assert not load.full or seen >= {0, MOST_TASKS, 2 * MOST_TASKS}
