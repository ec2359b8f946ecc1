"""An audit that reads page by page misses no task that stays in its place, whatever else comes and goes."""

from __future__ import annotations

from typing import Any

import pytest
from support.world import World

from dueq.core.client.paging import PAGE, list_pages, zset_pages
from dueq.core.clock import US

pytestmark = pytest.mark.few_servers

HOUR_US = 3600 * US


def test_an_index_without_tasks_is_an_empty_page(world: World) -> None:
    assert [task_id for page in world.strategy.pages("q") for task_id in page] == []
    assert len(list(world.strategy.pages("q"))) == 1


@pytest.mark.parametrize("apart_us", [0, US, 100 * US], ids=["at-once", "one-a-second", "far-apart"])
def test_every_scheduled_task_is_on_a_page(world: World, apart_us: int) -> None:
    start = world.now_us() + HOUR_US
    ids = [f"t{number}" for number in range(2500)]
    for number, task_id in enumerate(ids):
        if apart_us:
            world.schedule(task_id, due_us=start + number // 2 * apart_us)
    if not apart_us:
        world.schedule(*ids, due_us=start)
    world.schedule("elsewhere", queue="other", delay_us=HOUR_US)
    pages = list(world.strategy.pages("q"))
    assert {task_id for page in pages for task_id in page} == set(ids)
    assert max(len(page) for page in pages) <= PAGE
    assert [task_id for page in world.strategy.pages("other") for task_id in page] == ["elsewhere"]
    world.wipe()


def test_what_others_take_and_add_meanwhile_hides_nothing(world: World) -> None:
    """A dispatcher moves what is due, producers add and cancel, between any two pages."""
    start = world.now_us() + HOUR_US
    stay = [f"stay{number}" for number in range(2500)]
    go = [f"go{number}" for number in range(500)]
    for at in range(0, 500, 50):
        world.schedule(*stay[at * 5 : at * 5 + 250], *go[at : at + 50], due_us=start + at * US)
    seen: set[str] = set()
    for turn, page in enumerate(world.strategy.pages("q")):
        seen.update(page)
        for task_id in go[turn * 50 : turn * 50 + 50]:
            world.store.cancel(task_id)
        world.schedule(f"new{turn}")
        world.schedule(f"later{turn}", due_us=start + turn * US)
        world.dispatch_all()
    assert set(stay) <= seen
    world.wipe()


@pytest.mark.parametrize("strategy_name", ["lua"])
def test_a_list_that_is_pushed_to_and_taken_from(world: World) -> None:
    key, client = world.keys.of("ready", "q"), world.redis
    client.rpush(key, *(f"t{number}" for number in range(5000)))
    seen: set[str] = set()
    for turn, page in enumerate(list_pages(client, key)):
        seen.update(page)
        client.lpush(key, *(f"new{turn}-{number}" for number in range(300)))
        for number in range(turn * 90, turn * 90 + 90):
            client.lrem(key, 1, f"t{number}")
        for _ in range(50):
            client.rpop(key)
    left: Any = client.lrange(key, 0, -1)
    assert {raw.decode() for raw in left if raw.startswith(b"t")} <= seen
    world.wipe()


@pytest.mark.parametrize("strategy_name", ["lua"])
def test_a_zset_whose_low_end_is_taken_away(world: World) -> None:
    key, client = world.keys.of("dead", "q"), world.redis
    client.zadd(key, {f"t{number}": number for number in range(5000)})
    seen: set[str] = set()
    for turn, page in enumerate(zset_pages(client, key)):
        seen.update(page)
        client.zremrangebyrank(key, 0, 299)
        client.zadd(key, {f"new{turn}-{number}": 10_000 + number for number in range(300)})
        client.zrem(key, *(f"t{number}" for number in range(4999 - turn * 90, 4999 - turn * 90 - 90, -1)))
    left: Any = client.zrange(key, 0, -1)
    assert {raw.decode() for raw in left if raw.startswith(b"t")} <= seen
    world.wipe()
