"""Two, then eight real dispatchers on one namespace, 20,000 tasks due at one instant: each dispatched once."""

from __future__ import annotations

import time
from collections import Counter
from types import ModuleType

import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq import strategies
from dueq.core.client.connection import connect

pytestmark = pytest.mark.processes

TASKS = 20_000


@pytest.mark.in_turn
@pytest.mark.timeout(180)
@pytest.mark.parametrize("dispatchers", [2, pytest.param(8, marks=pytest.mark.long)])
@pytest.mark.parametrize("strategy", strategies.names())
def test_each_task_is_dispatched_once(engine: Engine, sample: ModuleType, strategy: str, dispatchers: int) -> None:
    # without a worker, everything stays where the dispatchers put it
    supervisor = engine.run("--workers", "0", "--dispatchers", str(dispatchers), "--strategy", strategy)
    redis = connect(engine.url)
    due = time.time() + 1 + TASKS / 1500  # so far away that all are scheduled by then
    for _ in range(0, TASKS, 1000):
        sample.app.schedule_many([sample.nap.call_at(due)(0.0) for _ in range(1000)])
    assert time.time() < due, "scheduling took too long for a start at one instant"
    ready = f"dueq:{{default}}:ready:{sample.nap.queue}"
    assert redis.llen(ready) == 0, "early"
    wait_until(lambda: redis.llen(ready) >= TASKS, 60)
    took = time.time() - due
    time.sleep(0.3)  # for a second copy of anything to show up
    ids = Counter(redis.lrange(ready, 0, -1))
    assert len(ids) == TASKS
    assert max(ids.values()) == 1
    wait_until(lambda: engine.total(supervisor, "dueq_task_lateness_seconds_count", stage="ready") == TASKS, 5)
    conflicts = engine.total(supervisor, "dueq_dispatch_conflicts_total")
    print(f"{strategy}, {dispatchers} dispatchers: {TASKS / took:,.0f} tasks/s, {conflicts:.0f} conflicts")
    assert engine.stop(supervisor) == 0
