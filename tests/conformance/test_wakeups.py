"""A task scheduled while a dispatcher works, at any moment, is known to it before it sleeps, or wakes it."""

from __future__ import annotations

import itertools

import pytest
from support.mortal import interrupted
from support.world import TRANSACTIONAL, MovableClock, World

from dueq.core.clock import US
from dueq.core.namespace import Namespace


@pytest.mark.leaves_keys
@pytest.mark.parametrize("far", [False, True], ids=["", "far"])
@pytest.mark.parametrize("delay_us", [0, US, 5 * US])
@pytest.mark.parametrize("behind_us", [0, US // 3])
def test_seen_or_woken(redis_url: str, strategy_name: str, far: bool, delay_us: int, behind_us: int) -> None:
    if behind_us and strategy_name not in TRANSACTIONAL:
        pytest.skip("it goes by Redis's clock, which is never behind")
    numbers = itertools.count()

    def in_gap(gap: int) -> bool:
        """Schedule before the command of this number; False if there is no such command."""
        world = World(redis_url, f"wake{next(numbers)}", strategy_name)
        try:
            world.schedule("a")
            if far:
                world.schedule("far", delay_us=3600 * US)
            world.round_up()
            clock = MovableClock()
            clock.ahead_us = world.clock.ahead_us - behind_us
            own = None if strategy_name not in TRANSACTIONAL else clock
            producer = world.adopt(Namespace.open(world.settings, clock=own)).store
            producer.time_us()  # it is connected
            world.redis.delete(world.keys.plain("wake"))
            gaps = itertools.count()

            def meanwhile() -> None:
                if next(gaps) == gap:
                    world.schedule("b", delay_us=delay_us, store=producer)

            asked_us = world.now_us()
            result = interrupted(world.actor(), meanwhile).strategy.dispatch(100)
            if next(gaps) <= gap:
                return False
            record = world.store.record("b")
            assert record is not None
            due_us = record.due_us + (-record.due_us % world.resolution_us if world.resolution_us else 0)
            dispatched = world.states()["scheduled"] == int(far)
            # what it was told counts from some moment after it asked
            seen = result.next_in is not None and asked_us + result.next_in * US <= max(asked_us, due_us) + US // 5
            rung = world.redis.llen(world.keys.plain("wake")) > 0
            assert (dispatched, seen, rung) != (False, False, False), f"missed if scheduled before command {gap}"
            return True
        finally:
            world.close()

    assert sum(itertools.takewhile(bool, map(in_gap, itertools.count()))) > 0
