"""How late ``keyspace`` is with very many keys pending: Redis by itself takes minutes to come to each.

``DUEQ_PENDING=1000,100000,1000000`` chooses the numbers; the last takes some minutes to fill.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until
from support.world import World

from dueq.core.embedded import EmbeddedServer
from dueq.core.stop import Stop

pytestmark = pytest.mark.alone

PENDING = [int(number) for number in os.environ.get("DUEQ_PENDING", "1000,100000").split(",")]
TASKS, APART_US = 300, 20_000
_HOUR_US = 3600 * 1_000_000


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    server = EmbeddedServer(tmp_path / "redis", options={"appendonly": "no"})
    world = World(server.start(), "pending", "keyspace")
    yield world
    world.close()
    server.stop()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("pending", PENDING)
def test_on_time_whatever_is_pending(own_world: World, pending: int) -> None:
    world = own_world
    for first in range(0, pending, 1000):
        due = world.now_us() + _HOUR_US + first * 1000
        world.schedule(*[f"far{first + number}" for number in range(min(1000, pending - first))], due_us=due)
    late, stop = list[float](), Stop()
    strategy = world.actor().strategy

    def dispatch() -> None:
        while not stop.requested:
            result = strategy.dispatch(100)
            late.extend(seconds for _, seconds in result.moved)
            if result.next_in != 0:
                stop.forget_wakeups()
                strategy.wait(30 if result.next_in is None else min(30, result.next_in), wakeup_fd=stop.fileno())
        strategy.close()

    thread = threading.Thread(target=dispatch)
    thread.start()
    due = world.now_us() + 500_000
    for number in range(TASKS):
        world.schedule(f"t{number}", due_us=due + number * APART_US)
    wait_until(lambda: len(late) == TASKS, 60)
    time.sleep(0.05)
    stop.request()
    thread.join(5)
    stop.close()
    late.sort()
    p50, p99, most = (1000 * late[min(TASKS - 1, int(TASKS * share))] for share in (0.5, 0.99, 1))
    print(f"keyspace, {pending:,} pending, {TASKS} due: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {most:.2f} ms")
    assert late[0] >= 0
    assert p99 < 100
    world.wipe()
