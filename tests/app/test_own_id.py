"""A task that schedules its own id again, through the public interface; and a call that did nothing is reported."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.world import World

from dueq import Dueq
from dueq.core.app.context import Context, running
from dueq.core.app.payload import decode_body
from dueq.core.schema.record import Record
from dueq.core.store.values import Outcome


@pytest.fixture
def app(world: World) -> Dueq:
    assert world.settings.redis_url is not None
    app = Dueq(world.settings.redis_url, namespace=world.settings.namespace, strategy=world.settings.strategy)
    app.task(queue="q", name="again")(lambda number: None)
    return app


@contextmanager
def inside(world: World, claim: Record, namespace: str = "") -> Iterator[None]:
    """What a worker does around a task."""
    name = decode_body(claim.body)[0]
    context = Context(
        claim.id, name, claim.queue, namespace or world.keys.namespace, claim.token, claim.starts, claim.due_us
    )
    token = running.set(context)
    try:
        yield
    finally:
        running.reset(token)


def run(world: World, app: Dueq, task_id: str = "a") -> Record:
    world._ids.update({task_id, "b"})
    app.find("again").after(0, id=task_id)(0)
    world.dispatch_all()
    return world.started()


def numbers(world: World) -> list[int]:
    return [decode_body(record.body)[1][0] for record in world.drain()]


def test_after_this_run(world: World, app: Dueq) -> None:
    claim = run(world, app)
    task = app.find("again")
    with inside(world, claim):
        first, other = task.after(0, id="a")(1), task.after(0, id="b")(5)
        assert (first.created, first.state) == (True, "after this run")
        assert "after this run" in repr(first)
        assert (other.created, other.state) == (True, "scheduled")
        many = app.schedule_many([task.call_after(0, id=name)(n) for n, name in enumerate(["b", "a", "c", "a"], 10)])
        assert [(handle.id, handle.created) for handle in many] == [("b", False), ("a", True), ("c", True), ("a", True)]
        world._ids.add("c")
    world.settle("w1", Outcome(claim, "ack"))
    assert sorted(numbers(world)) == [5, 12, 13]


def test_taken_back(world: World, app: Dueq) -> None:
    claim = run(world, app)
    with inside(world, claim):
        handle = app.find("again").after(0, id="a")(1)
        assert handle.cancel()
        assert not handle.cancel()  # it runs
    world.settle("w1", Outcome(claim, "ack"))
    assert numbers(world) == []


def test_elsewhere_it_is_an_id_in_use(world: World, app: Dueq, caplog: pytest.LogCaptureFixture) -> None:
    claim = run(world, app)
    task = app.find("again")
    with caplog.at_level(logging.WARNING, "dueq.producer"):
        outside = task.after(0, id="a")(1)
        with inside(world, claim, "another"):
            of_another_namespace = task.after(0, id="a")(1)
        with inside(world, claim._replace(token=claim.token - 1)):
            not_its_run = task.after(0, id="a")(1)
    for handle in (outside, of_another_namespace, not_its_run):
        assert (handle.created, handle.state) == (False, "leased")
        assert "NOT scheduled" in repr(handle)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 1 tasks not scheduled, since their ids are in use: a (leased)"
    ] * 3
    world.settle("w1", Outcome(claim, "ack"))
    assert numbers(world) == []


def test_a_run_that_is_over_schedules_as_anybody_does(world: World, app: Dueq) -> None:
    claim = run(world, app)
    world.settle("w1", Outcome(claim, "ack"))
    with inside(world, claim):
        assert app.find("again").after(0, id="a")(7).state == "scheduled"
    assert numbers(world) == [7]
