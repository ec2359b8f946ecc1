"""What a task that waits costs Redis in memory: its record, from which it can be cancelled by id and explained, and its
place in the index.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.world import World

from dueq.core.app.payload import encode_body
from dueq.core.app.task import new_id
from dueq.core.clock import US
from dueq.core.store.values import NewTask

MOST_BYTES = 350
TASKS = 20_000  # the keys of 4,096 hashes cost as much whatever is in them


@pytest.mark.one_server
@pytest.mark.scripted
@pytest.mark.leaves_keys
@pytest.mark.parametrize("strategy_name", ["lua", "tmpset", "watch"])  # the others have larger indexes, by their nature
def test_a_pending_task_costs_350_bytes_at_most(world: World) -> None:
    body = encode_body("shop.remind", ["x" * 86], {}, 1000)
    world.schedule("first", delay_us=3600 * US)  # the scripts are there
    before = _used(world)
    for at in range(0, TASKS, 1000):
        due = 3600 * US + at * 1000
        world.store.schedule([NewTask(new_id(), "default", due + number, body, True) for number in range(1000)])
    each = (_used(world) - before) / TASKS
    assert each <= MOST_BYTES, each


def _used(world: World) -> int:
    """Bytes that Redis uses, without the buffers of clients."""
    found: Any = world.redis.memory_stats()
    return int(found["total.allocated"]) - int(found["clients.normal"])
