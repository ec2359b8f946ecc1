"""``app.get`` and ``app.task_names``: what a person at a Python prompt can ask."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from support.world import World

from dueq import Dueq
from dueq.core.clock import US
from dueq.core.errors import DueqError, InvalidTask
from dueq.core.schema.journal import Journal
from dueq.core.store.values import Outcome
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import WorkerTelemetry


@pytest.fixture
def app(world: World) -> Dueq:
    app = Dueq(world.settings.redis_url, namespace=world.settings.namespace, strategy=world.settings.strategy)

    @app.task(name="remind", queue="q")
    def remind(user: int, text: str = "") -> None: ...

    @app.handler
    def anything(data: object) -> None: ...

    return app


def test_the_names_of_its_tasks(app: Dueq) -> None:
    app.task(name="another")(lambda: None)
    assert app.task_names == ["another", "remind"]


@pytest.mark.in_turn
@pytest.mark.parametrize("strategy_name", ["lua", "watch"])
def test_a_task_from_scheduling_to_its_end(world: World, app: Dueq) -> None:
    world.note("a")
    before = time.time()
    handle = app.find("remind").after(3600, id="a", expires=60, headers={"trace": "x"})(42, text="hi")
    info = app.get("a")
    assert info is not None
    assert (info.id, info.state, info.task, info.args, info.kwargs) == (
        "a",
        "scheduled",
        "remind",
        [42],
        {"text": "hi"},
    )
    assert (info.queue, info.due_at, info.headers) == ("q", handle.due_at, {"trace": "x"})
    assert (info.attempts, info.retries, info.losses, info.worker, info.last_failure) == (0, 0, 0, "", "")
    assert info.expires_at == info.due_at + timedelta(seconds=60)
    assert info.scheduled_at is not None
    assert before - 1 < info.scheduled_at.timestamp() < time.time() + 1

    world.store.reschedule("a", 0)
    assert (found := app.get("a")) is not None
    assert found.state == "due"
    world.dispatch_all()
    claim = world.started()
    assert (found := app.get("a")) is not None
    assert (found.state, found.worker, found.attempts) == ("leased", "w1", 1)

    retry = Outcome(claim, "retry", reason="ValueError: no")
    assert world.settle("w1", retry) == "done"
    journal = Journal(world.redis, world.keys, "w1")
    WorkerTelemetry(Counters(), "worker", "s", journal).finished(retry, world.now_us())
    journal.flush()
    assert (found := app.get("a")) is not None
    assert (found.state, found.attempts, found.retries, found.last_failure) == ("due", 1, 1, "ValueError: no")

    world.dispatch_all()
    world.settle("w1", Outcome(world.started(), "dead", reason="OSError: gone redis://u:secret@h"))
    assert (found := app.get("a")) is not None
    assert (found.state, found.attempts) == ("dead", 2)
    assert found.last_failure.startswith("OSError: gone")
    assert "secret" not in found.last_failure
    world.store.discard(["a"])
    assert app.get("a") is None


@pytest.mark.parametrize("strategy_name", ["lua"])
def test_what_cannot_be_told(world: World, app: Dueq) -> None:
    assert app.get("never") is None
    with pytest.raises(InvalidTask, match="cannot be a task id"):
        app.get("two words")
    world.schedule("a", delay_us=US)
    world.redis.hset(world.keys.record("a"), "a", "rubbish")
    with pytest.raises(DueqError, match="it is damaged") as raised:
        app.get("a")
    assert raised.value.ids == ("a",)
    world.redis.hdel(world.keys.record("a"), "a")
    world.redis.delete(*world.found())
