"""How long it takes to move 100,000 tasks, due over a day, to another strategy.

.venv/bin/python -m pytest tests/alone/test_migration_time.py -rP
"""

from __future__ import annotations

import time

import pytest
from support.moving import migrate, visitor
from support.world import World

pytestmark = pytest.mark.alone

TASKS = 100_000
DAY_US = 86_400 * 1_000_000


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("old", "new"), [("lua", "watch"), ("watch", "lua"), ("lua", "keyspace"), ("lua", "buckets"), ("buckets", "lua")]
)
def test_a_hundred_thousand_tasks(redis_url: str, old: str, new: str) -> None:
    world = World(redis_url, f"{old}-{new}", old)
    try:
        first = world.now_us() + DAY_US
        for at in range(0, TASKS, 100):
            world.schedule(*(f"t{number}" for number in range(at, at + 100)), due_us=first + at * DAY_US // TASKS)
        began = time.monotonic()
        assert migrate(world, new) == TASKS
        print(f"{old} to {new}: {TASKS:,} tasks in {time.monotonic() - began:.1f} s")
        assert visitor(world).strategy.census(["q"])[0].scheduled == TASKS
    finally:
        world.close()
