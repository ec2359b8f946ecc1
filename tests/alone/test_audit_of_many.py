"""The cost of an audit with very many tasks pending.

DUEQ_PENDING=1000000 .venv/bin/python -m pytest tests/alone/test_audit_of_many.py -m alone -rP   # filling takes minutes
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from support.audits import Audits
from support.world import World

from dueq.core.client.counting import COMMANDS
from dueq.core.client.embedded import EmbeddedServer
from dueq.core.schema.record import Record, encode_record
from dueq.core.schema.states import State
from dueq.core.store.strategy import Entry

pytestmark = pytest.mark.alone

PENDING = int(os.environ.get("DUEQ_PENDING", "100000"))
SLOW_US = 5000
LONGEST_STEP_S = 0.1
_SPREAD_S = 10_000


def fill(world: World, tasks: int) -> None:
    """Records and index at once, by thousands: what producers do takes several times as long."""
    world.schedule("first", delay_us=3_600_000_000)
    start = world.now_us() + 3_600_000_000
    for at in range(0, tasks - 1, 1000):
        pipe: Any = world.redis.pipeline(transaction=False)
        some = [
            Entry("q", f"task-{n:08}", start + n % _SPREAD_S * 1_000_000) for n in range(at, min(at + 1000, tasks - 1))
        ]
        for entry in some:
            record = Record(
                entry.id, State.SCHEDULED, entry.due_us, "q", 0, 0, 0, "", 0, 0, "", b'["app.remind",[12345,"hello"]]'
            )
            pipe.hset(world.keys.record(entry.id), entry.id, encode_record(record))
        for command in world.strategy.add(some):
            pipe.execute_command(*command)
        pipe.execute()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("strategy", ["lua", "buckets"])
def test_an_audit_of_very_many_tasks_is_cheap(tmp_path: Path, strategy: str) -> None:
    """About a command a thousand tasks and one a hash; no step long, for Redis or for who shares the process."""
    server = EmbeddedServer(tmp_path / "redis", options={"appendonly": "no", "slowlog-log-slower-than": str(SLOW_US)})
    world = World(server.start(), "many", strategy)
    try:
        fill(world, PENDING)
        world.redis.slowlog_reset()
        audits = Audits(world, grace=1)
        sent, began, cpu = COMMANDS.sent, time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        before = _redis_cpu(world)
        steps = list(audits.steps())
        whole, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
        commands = COMMANDS.sent - sent
        print(
            f"{strategy}: {PENDING:,} pending, an audit in {whole:.1f} s, {len(steps)} steps, the longest "
            f"{1000 * max(steps):.1f} ms; {commands:,} commands, {_redis_cpu(world) - before:.2f} s of CPU in Redis, "
            f"{after.ru_utime - cpu.ru_utime:.2f} s here; memory here {after.ru_maxrss / 1024:.0f} MiB at most"
        )
        assert audits.repairs == {}
        assert world.redis.slowlog_get(10) == []
        assert max(steps) < LONGEST_STEP_S
        of_buckets = _SPREAD_S if strategy == "buckets" else 0  # each is read
        # of each hash: the ids, some records, and, by how long these are, the others
        assert commands < 3 * 4096 + PENDING / 500 + of_buckets + 500
    finally:
        world.redis.connection_pool.disconnect()
        server.stop()


def _redis_cpu(world: World) -> float:
    told = world.redis.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
