"""Tasks that must survive a failover: replicas must have them, too."""

from __future__ import annotations

import pytest
from support.world import World

from dueq.core.app.application import Dueq
from dueq.core.errors import NotReplicated
from dueq.core.schema.states import State


def test_without_replicas_the_task_is_scheduled_and_the_error_says_so(world: World) -> None:
    version = world.redis.info()["redis_version"]
    if tuple(map(int, version.split(".")[:2])) < (3, 0):
        pytest.skip("WAIT came with Redis 3.0")
    app = Dueq(world.settings.redis_url, namespace=world.settings.namespace, strategy=world.settings.strategy)
    task = app.task(queue="q", name="f")(lambda: None)
    with pytest.raises(NotReplicated, match="0 of 1 replicas"):
        app.schedule_many([task.call_after(3600, id="a")()], replicas=1, replicas_within=0.01)
    record = world.store.record("a")
    assert record is not None
    assert record.state == State.SCHEDULED
    [again] = app.schedule_many([task.call_after(3600, id="a")()])
    assert not again.created
    assert world.store.cancel("a")
