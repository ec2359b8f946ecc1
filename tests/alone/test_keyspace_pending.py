"""How late ``keyspace`` is with very many keys pending, and how late Redis's own events are, which it does not need.

DUEQ_PENDING=1000,100000,1000000   the numbers of other keys; the last takes a minute to fill
DUEQ_EVENT_ALONE=120               measure Redis's events, too, waiting at most so many seconds for them
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyspace.dispatchers import Dispatchers
from support.world import World

from dueq.core.client.connection import connect
from dueq.core.client.embedded import EmbeddedServer
from dueq.core.client.keyspace_events import SETTING, Subscription
from dueq.core.clock import US

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

PENDING = [int(number) for number in os.environ.get("DUEQ_PENDING", "1000,100000").split(",")]
EVENT_ALONE_S = float(os.environ.get("DUEQ_EVENT_ALONE", "0"))
TASKS, APART_US = 250, 40_000
MOST_LATE_P99_S = 0.1

with_each = pytest.mark.parametrize("pending", PENDING)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server of the test's own, at Redis's default pace of looking for keys that have expired."""
    server = EmbeddedServer(tmp_path / "redis", options={"appendonly": "no", "hz": "10"})
    yield server.start()
    connect(server.url).flushall()
    server.stop()


@with_each
def test_on_time_whatever_is_pending(url: str, pending: int) -> None:
    world = World(url, "pending", "keyspace")
    began = time.monotonic()
    for first in range(0, pending, 1000):
        ids = [f"far{first + number}" for number in range(min(1000, pending - first))]
        world.schedule(*ids, due_us=world.now_us() + 3600 * US + first * 1000)
    filled = time.monotonic() - began
    with Dispatchers(world) as dispatcher:
        due = world.now_us() + 500_000
        for number in range(TASKS):
            world.schedule(f"t{number}", due_us=due + number * APART_US)
        dispatcher.wait_for(TASKS, 60)
        late, wakeups = dispatcher.late, dispatcher.wakeups
    world.redis.flushall()
    world.close()
    print(f"keyspace, {pending:,} other tasks (scheduled in {filled:.0f} s), {TASKS} due: {_figures(late)}; "
          f"woken {dict(wakeups)}")  # fmt: skip
    assert min(late) >= 0
    assert sorted(late)[len(late) * 99 // 100] < MOST_LATE_P99_S
    assert wakeups["event"] > TASKS / 2


@pytest.mark.skipif(not EVENT_ALONE_S, reason="takes minutes: DUEQ_EVENT_ALONE=120 says how many seconds to wait")
@with_each
def test_what_redis_does_by_itself(url: str, pending: int) -> None:
    """Only a subscriber and keys that expire: nobody looks at them, and there is no index."""
    client = connect(url)
    client.config_set(SETTING, "Kx")
    now = time.time_ns() // 1_000_000
    for first in range(0, pending, 10_000):
        pipe = client.pipeline(transaction=False)
        for number in range(first, min(pending, first + 10_000)):
            pipe.set(f"far:{number}", "", pxat=now + 3_600_000 + number)
        pipe.execute()
    subscription = Subscription(client, "due:", "expired")
    subscription.start()
    start = time.time_ns() // 1000 + US // 2
    for number in range(TASKS):
        due = start + number * APART_US
        client.set(f"due:{due}", "", pxat=due // 1000)
    late: list[float] = []
    deadline = time.monotonic() + EVENT_ALONE_S
    while len(late) < TASKS and time.monotonic() < deadline:
        heard = subscription.wait(1.0)
        now = time.time_ns() // 1000
        late += [(now - int(due)) / US for due in heard]
    subscription.close()
    client.close()
    print(f"the event alone, {pending:,} other keys: {len(late)} of {TASKS} came within {EVENT_ALONE_S:.0f} s"
          f"{': ' + _figures(late) if late else ''}")  # fmt: skip
    assert min(late, default=0) >= 0


def _figures(late: list[float]) -> str:
    late = sorted(late)
    p50, p99, most = (1000 * late[min(len(late) - 1, int(len(late) * share))] for share in (0.5, 0.99, 1))
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {most:.2f} ms"
