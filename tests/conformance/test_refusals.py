"""A server that refuses writes: running tasks can still end, and no process stays with a demoted server (G9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from support.world import LEASE_US, SCRIPTED, TRANSACTIONAL, World

from dueq.core.client.transactions import Transactions
from dueq.core.clock import US
from dueq.core.store.values import Loss, Outcome

with_scripts = pytest.mark.parametrize("strategy_name", SCRIPTED)
without_scripts = pytest.mark.parametrize("strategy_name", TRANSACTIONAL)


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


@pytest.mark.scripted
def test_at_maxmemory_tasks_can_be_extended_and_settled_and_the_next_one_started(full: World) -> None:
    step = full.take("w1", want=2)
    assert step.started is not None
    _fill(full)
    assert full.store.extend("w1", [step.started], LEASE_US) == [True]
    [held] = step.held
    step = full.take("w1", outcome=Outcome(step.started, "ack"), start=held, want=0)
    assert step.settled == "done"
    assert step.started is not None
    assert step.started.id == held.id
    step = full.take("w1", outcome=Outcome(step.started, "retry", delay_us=0))
    assert step.settled == "done"
    assert step.started is not None
    assert full.settle("w1", Outcome(step.started, "dead", reason="on purpose")) == "done"


@pytest.mark.scripted
def test_at_maxmemory_an_idle_worker_takes_what_is_ready(full: World) -> None:
    _fill(full)
    assert full.started("w1").id == "started"


@with_scripts
def test_at_maxmemory_due_tasks_are_dispatched_and_lost_ones_given_back(full: World) -> None:
    full.schedule("due", delay_us=0)
    full.started("w1")
    _fill(full)
    assert len(full.dispatch_all()) == 1
    assert len(full.store.give_back(Loss("w1", "worker_lost", 3))) == 1


def _frees_memory_in_multi(world: World) -> bool:
    """Whether a full server does in MULTI what only frees memory: those from 4.0 (or so) to 7.0 do not."""
    pipe: Any = world.redis.pipeline(transaction=True)
    try:
        return bool(pipe.zrem(world.keys.plain("workers"), "nobody").execute() == [0])
    except OutOfMemoryError:
        return False


@pytest.mark.transactional
@without_scripts
def test_at_maxmemory_an_ack_gets_through(full: World) -> None:
    claim = full.started("w1")
    _fill(full)
    assert full.settle("w1", Outcome(claim, "ack")) == "done"
    assert full.store.record(claim.id) is None
    assert full.settle("w1", Outcome(claim, "ack")) == "missing"
    full.redis.config_set("maxmemory", 0)
    assert full.states()["leased"] == 0
    assert len(full.drain()) == 2


@pytest.mark.transactional
@without_scripts
def test_at_maxmemory_an_ack_with_little_left_of_its_lease_waits(full: World) -> None:
    claim = full.started("w1", lease_us=US // 2)
    _fill(full)
    if not _frees_memory_in_multi(full):
        with pytest.raises(OutOfMemoryError):
            full.settle("w1", Outcome(claim, "ack"))
        full.redis.config_set("maxmemory", 0)
    assert full.settle("w1", Outcome(claim, "ack")) == "done"


@pytest.mark.transactional
@without_scripts
def test_at_maxmemory_a_stale_ack_is_refused(full: World) -> None:
    claim = full.started("w1")
    assert len(full.store.give_back(Loss("w1", "worker_lost", 9))) == 1
    again = full.started("w2")
    assert again.id == claim.id
    _fill(full)
    assert full.settle("w1", Outcome(claim, "ack")) == "stale"
    assert full.store.record(claim.id) == again


@pytest.mark.transactional
@without_scripts
@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
def test_at_maxmemory_all_else_waits_and_goes_on_afterwards(
    full: World, careful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis refuses a MULTI with a command that takes memory: nothing may be half done, lost, or run twice.

    ``careful`` is the way with servers before 2.6.5, which would execute the other commands.
    """
    monkeypatch.setattr(Transactions, "_is_careful", lambda self: careful)
    full.schedule("due")
    full.round_up()
    step = full.take("w1", want=2)
    assert step.started is not None
    before = [full.store.record(task_id) for task_id in ("started", "held", "waiting", "due")], full.states()
    _fill(full)
    attempts: list[Callable[[], object]] = [
        lambda: full.store.extend("w1", [step.started], LEASE_US),  # type: ignore[list-item]
        lambda: full.take("w2"),
        lambda: full.take("w1", want=0, start=step.held[0]),
        lambda: full.settle("w1", Outcome(step.started, "retry")),  # type: ignore[arg-type]
        lambda: full.settle("w1", Outcome(step.started, "dead", reason="x")),  # type: ignore[arg-type]
        lambda: full.store.give_back(Loss("w1", "worker_lost", 9)),
        lambda: full.store.release("w1", step.held),
        lambda: full.store.reschedule("waiting", LEASE_US, relative=True),
        lambda: full.strategy.dispatch(100),
    ]
    for attempt in attempts:
        with pytest.raises(OutOfMemoryError):
            attempt()
    assert ([full.store.record(task_id) for task_id in ("started", "held", "waiting", "due")], full.states()) == before
    full.redis.config_set("maxmemory", 0)
    assert full.settle("w1", Outcome(step.started, "ack")) == "done"
    assert full.store.give_back(Loss("w1", "unstarted", 9))
    ran = [record.id for record in full.drain()]
    assert sorted(ran) == ["due", "held", "waiting"]


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
    client.ping()
    before = _connections(world)
    client.execute_command("SLAVEOF", "127.0.0.1", "1")
    try:
        with pytest.raises(ReadOnlyError):
            world.take("w1")
        client.ping()
        assert _connections(world) == before + 1
    finally:
        client.execute_command("SLAVEOF", "NO", "ONE")
    assert world.started("w1").id == "a"


def _connections(world: World) -> int:
    """How many connections the server has accepted so far."""
    info: Any = world.redis.info()
    return int(info["total_connections_received"])
