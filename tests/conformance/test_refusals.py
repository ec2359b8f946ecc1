"""A server that refuses writes: what runs can still end, and nobody stays with a server that was demoted (G9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from support.world import LEASE_US, World

from dueq.core.store.base import Outcome


@pytest.fixture
def full(world: World) -> Iterator[World]:
    """A namespace with a started task, a held one and a ready one, on a server that is then at its maxmemory."""
    world.ready("started", "held", "waiting")
    yield world
    world.redis.config_set("maxmemory", 0)


def _fill(world: World) -> None:
    world.redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        world.redis.set(world.keys.plain("meta") + "x", "x")


def test_at_maxmemory_tasks_can_be_extended_and_settled_and_the_next_one_started(full: World) -> None:
    step = full.take("w1", want=2)
    assert step.started is not None
    _fill(full)
    assert full.store.extend("w1", [step.started], LEASE_US) == [True]
    [held] = step.held
    step = full.take("w1", outcome=Outcome(step.started, "ack"), start=held)
    assert step.settled == "done"
    assert step.started is not None
    assert step.started.id == held.id
    step = full.take("w1", outcome=Outcome(step.started, "retry", delay_us=0))
    assert step.settled == "done"
    assert step.started is not None
    assert full.settle("w1", Outcome(step.started, "dead", reason="on purpose")) == "done"


def test_at_maxmemory_an_idle_worker_takes_what_is_ready(full: World) -> None:
    _fill(full)
    assert full.started("w1").id == "started"


def test_at_maxmemory_due_tasks_are_dispatched_and_lost_ones_given_back(full: World) -> None:
    full.schedule("due", delay_us=0)
    full.started("w1")
    _fill(full)
    assert len(full.dispatch_all()) == 1
    assert len(full.store.give_back("w1", "worker_lost", 3)) == 1


def test_at_maxmemory_scheduling_is_refused_and_writes_nothing(full: World) -> None:
    _fill(full)
    with pytest.raises(OutOfMemoryError):
        full.schedule("late")
    full.redis.config_set("maxmemory", 0)
    assert full.store.record("late") is None
    assert full.states()["scheduled"] == 0


def test_a_connection_to_a_demoted_server_is_not_kept(world: World) -> None:
    world.ready("a")
    client: Any = world.main.client
    before = client.client_id()
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(ReadOnlyError):
            world.take("w1")
        assert client.client_id() != before
    finally:
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert world.started("w1").id == "a"
