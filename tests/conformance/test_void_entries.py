"""A bucket is never searched: a cancelled task leaves a void entry there until a dispatcher drops it."""

from __future__ import annotations

import pytest
from support.audits import Audits
from support.mortal import interrupted
from support.world import World

from dueq.core.client.counting import COMMANDS
from dueq.core.clock import US
from dueq.core.store.values import NewTask

pytestmark = pytest.mark.parametrize("strategy_name", ["buckets"])

HOUR_US = 3600 * US
COUNT = 250


def far(world: World, count: int = COUNT) -> list[str]:
    """Tasks of one second, an hour from now."""
    due, ids = world.now_us() // US * US + HOUR_US, [f"t{number}" for number in range(count)]
    world.store.schedule([NewTask(id, "q", due, b'["f",[]]') for id in ids])
    return ids


def scheduled(world: World) -> int:
    return world.states()["scheduled"]


@pytest.mark.leaves_keys
def test_half_of_a_second_is_cancelled(world: World) -> None:
    """Dispatchers drop so many a step, and no worker meets them; counts are right all the while."""
    ids = far(world)
    for at, id in enumerate(ids[::2], 1):
        assert world.store.cancel(id)
        assert scheduled(world) == COUNT - at
    [key] = [key for key in world.found() if b":bucket:" in key]
    assert world.redis.llen(key) == COUNT, "they are still there"
    Audits(world).run()
    assert scheduled(world) == COUNT // 2
    world.clock.ahead_us += HOUR_US + US
    left, moved = COUNT, 0
    while left:
        found = world.strategy.dispatch(100)
        moved += len(found.moved)
        before, left = left, world.redis.llen(key)
        assert 0 < before - left <= 100
        assert scheduled(world) + moved == COUNT // 2
        assert found.next_in == 0 or not left
    assert world.redis.exists(world.keys.plain("revoked")) == 0
    assert {record.id for record in world.drain()} == set(ids[1::2])


def test_an_id_with_several_entries_runs_when_it_is_due(world: World) -> None:
    """Sooner, later, cancelled and used again: of all its entries the one counts that its record speaks of."""
    for id in ("sooner", "later", "again", "twice"):
        world.schedule(id, delay_us=600 * US)
    assert world.store.reschedule("sooner", 300 * US, relative=True)
    assert world.store.reschedule("later", 900 * US, relative=True)
    assert world.store.cancel("again")
    world.schedule("again", delay_us=600 * US)
    assert world.store.reschedule("twice", 900 * US, relative=True)
    assert world.store.reschedule("twice", 600 * US, relative=True)
    assert scheduled(world) == 4
    for ahead, expected in ((301, {"sooner"}), (301, {"again", "twice"}), (301, {"later"})):
        world.clock.ahead_us += ahead * US
        assert {record.id for record in world.drain()} == expected
    assert world.leftovers() == []


@pytest.mark.leaves_keys
def test_a_cancel_costs_the_same_in_a_crowd(world: World) -> None:
    def spent(id: str) -> int:
        before = COMMANDS.sent
        assert world.store.cancel(id)
        return COMMANDS.sent - before

    world.schedule("first", "alone", delay_us=60 * US)
    spent("first")  # it may load the script
    alone = spent("alone")
    assert spent(far(world)[100]) == alone
    assert spent("t101") == alone


def test_two_dispatchers_and_a_producer_that_cancels(world: World) -> None:
    """Whoever comes in between: none is dropped that is to run."""
    ids = far(world, 30)
    for id in ids[::3]:
        assert world.store.cancel(id)
    world.clock.ahead_us += HOUR_US + US
    other = world.actor().strategy
    while world.strategy.dispatch(4).next_in == 0:
        other.dispatch(4)
        if (id := next((id for id in ids[1::3] if world.store.record(id)), "")) and scheduled(world):
            world.store.reschedule(id, 0)
    assert {record.id for record in world.drain()} == set(ids) - set(ids[::3])
    assert world.leftovers() == []


def test_cancels_do_not_keep_a_dispatcher_from_its_work(world: World) -> None:
    """Each of its commands meets one more, in another queue: it moves what is void, too, and who claims drops that."""
    ids = [f"t{number}" for number in range(20)]
    world.schedule(*ids)
    assert world.store.cancel("t3")
    others = (f"o{number}" for number in range(1000))
    world.round_up()

    def meanwhile() -> None:
        other = next(others)
        world.schedule(other, queue="other", delay_us=HOUR_US)
        assert world.store.cancel(other)

    strategy = interrupted(world.actor(), meanwhile).strategy
    found = strategy.dispatch(100)
    assert len(found.moved) == 20
    assert found.conflicts > 1
    assert {record.id for record in world.drain()} == set(ids) - {"t3"}
    assert world.redis.hget(world.keys.plain("revoked"), "t3") is None


@pytest.mark.parametrize("others", [3, 60])
def test_a_task_that_is_taken_too_early_is_not_lost_beside_many_others(world: World, others: int) -> None:
    """It has a void entry elsewhere, and its clock's server is behind: it goes back, and runs when it is due."""
    world.schedule("x", delay_us=HOUR_US)
    world.round_up()
    due = world.now_us() + 5 * US
    world.store.reschedule("x", due)
    world.schedule(*(f"t{number}" for number in range(others)), due_us=due)
    world.clock.ahead_us += 6 * US
    world.dispatch_all()
    world.clock.ahead_us -= 6 * US
    for _ in range(others + 1):
        assert world.take("w1").started is None
    world.clock.ahead_us += 6 * US
    assert {record.id for record in world.drain()} == {"x", *(f"t{number}" for number in range(others))}
    assert world.redis.hget(world.keys.plain("revoked"), "x") == b"1", "the entry an hour from now"
    world.clock.ahead_us += HOUR_US
    world.dispatch_all()
    assert world.drain() == []
    assert world.leftovers() == []


@pytest.mark.scripted
def test_a_cancel_gets_through_at_maxmemory(world: World) -> None:
    world.note(*far(world, 3))
    world.redis.config_set("maxmemory", 1)
    try:
        assert world.store.cancel("t1")
    finally:
        world.redis.config_set("maxmemory", 0)
