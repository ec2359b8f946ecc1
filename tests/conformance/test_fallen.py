"""What a supervisor held that is gone with all its processes is given back by whoever finds its lock free."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mortal import Fate, Killed, mortal
from support.world import World

from dueq.core.maintenance.fallen import Fallen, facts_of
from dueq.core.namespace import Namespace
from dueq.core.process.state_lock import StateLock, names
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import Telemetry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells one boot from another")

GONE, ALIKE = "supervisor.here.1.abc", "supervisor.here.1.abcd"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture(autouse=True)
def _registry(world: World) -> Iterator[None]:
    yield
    world.redis.delete(world.keys.plain("supervisors"))


def _lock(world: World, directory: Path, supervisor: str = GONE) -> StateLock:
    world.store.alive(supervisor)
    return StateLock(directory, supervisor, {"supervisor": supervisor, **facts_of(world.main)})


def _fallen(namespace: Namespace, directory: Path, max_losses: int = 3) -> Fallen:
    telemetry = Telemetry(Counters(), "supervisor", namespace.strategy.name)
    return Fallen(namespace, telemetry, max_losses, directory)


def test_all_its_workers_held_can_run_again_and_nothing_else(world: World, directory: Path) -> None:
    gone, _ = _lock(world, directory), _lock(world, directory, ALIKE)
    world.ready("a", "b", "c", "d", "e")
    workers = ("worker.here.abc.1", "worker.here.abc.12", "worker.here.abcd.1", "worker.there.abc.1")
    owners = {world.started(worker).id: worker for worker in workers}
    fallen = _fallen(world.main, directory)
    assert fallen.run_once() > 0
    assert world.states()["leased"] == 4, "it is alive"
    gone.let_go()
    fallen.run_once()
    kept = {task_id for task_id, worker in owners.items() if worker in workers[2:]}
    assert world.states()["leased"] == 2
    again = [world.started("w") for _ in range(3)]
    assert {claim.id for claim in again} == set("abcde") - kept
    lost = {claim.id: claim.losses for claim in again if claim.cause == "worker_lost"}
    assert lost == dict.fromkeys(set(owners) - kept, 0), "it is not known which of them took all with it"
    assert names(directory) == [f"{ALIKE}.dueq-lock"]


def test_the_only_one_may_have_taken_all_with_it(world: World, directory: Path) -> None:
    gone = _lock(world, directory)
    world.ready("a")
    world.started("worker.here.abc.1")
    gone.let_go()
    _fallen(world.main, directory).run_once()
    claim = world.started("w")
    assert (claim.cause, claim.losses) == ("worker_lost", 1)


@pytest.mark.parametrize("start_all", [False, True])
def test_what_waits_behind_the_only_one_does_not_shield_it(world: World, directory: Path, start_all: bool) -> None:
    """Of several that were started it is not known which had begun."""
    gone = _lock(world, directory)
    world.ready("a", "b", "c")
    world.take("worker.here.abc.1", want=3, start_all=start_all)
    gone.let_go()
    _fallen(world.main, directory).run_once()
    losses = {claim.id: claim.losses for claim in (world.started("w") for _ in range(3))}
    assert losses == {"a": 0 if start_all else 1, "b": 0, "c": 0}


def test_one_of_another_redis_with_the_same_address_is_left_to_its_own(world: World, directory: Path) -> None:
    stranger = StateLock(directory, ALIKE, {"supervisor": ALIKE, **facts_of(world.main)})
    stranger.let_go()
    fallen = _fallen(world.main, directory)
    assert fallen.run_once() > 0
    assert fallen.run_once() > 0
    assert names(directory) == [f"{ALIKE}.dueq-lock"]


def test_a_failure_half_way_is_made_up_for(world: World, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = _lock(world, directory)
    world.ready("a", "b")
    world.started("worker.here.abc.1")
    world.started("worker.here.abc.2")
    gone.let_go()
    fallen = _fallen(world.main, directory)

    def fails() -> list[str]:
        raise ConnectionError("it is away")

    with monkeypatch.context() as away:
        away.setattr(world.main.strategy, "busy_dispatchers", fails)
        with pytest.raises(ConnectionError):
            fallen.run_once()
    assert len(names(directory)) == 1
    fallen.run_once()
    assert names(directory) == []
    assert {world.started("w").id, world.started("w").id} == {"a", "b"}


def test_no_task_is_to_blame_if_it_had_been_asked_to_stop(world: World, directory: Path) -> None:
    gone = _lock(world, directory)
    world.ready("a")
    world.started("worker.here.abc.1")
    gone.note_stop()
    gone.note_stop()
    gone.let_go()
    _fallen(world.main, directory, max_losses=1).run_once()
    claim = world.started("w")
    assert (claim.cause, claim.losses) == ("worker_lost", 0)
    assert names(directory) == []


@pytest.mark.in_turn
@pytest.mark.few_servers
def test_what_its_dispatchers_had_in_hand_becomes_ready(world: World, directory: Path) -> None:
    gone = _lock(world, directory)
    for at in range(1, 40):
        world.schedule("a", "b")
        world.round_up()
        fate = Fate(at)
        dying = mortal(world.actor(owner="dispatcher.here.abc.7"), fate)
        try:
            dying.strategy.dispatch(100)
        except Killed:
            owners = world.strategy.busy_dispatchers()
            assert owners in ([], ["dispatcher.here.abc.7"])
            gone.let_go()
            _fallen(world.main, directory).run_once()
            assert world.strategy.busy_dispatchers() == []
            gone = _lock(world, directory)
        assert sorted(claim.id for claim in world.drain()) == ["a", "b"]
        if not fate.dead:
            break
    else:
        pytest.fail("it died each time")


@pytest.mark.in_turn
@pytest.mark.few_servers
def test_one_that_is_interrupted_leaves_the_rest_to_the_next(world: World, directory: Path) -> None:
    deaths = 0
    for at in range(1, 200):
        gone = _lock(world, directory)
        world.ready("a", "b")
        world.started("worker.here.abc.1")
        world.started("worker.here.abc.2")
        gone.let_go()
        fate = Fate(at)
        dying = _fallen(mortal(world.actor(), fate), directory)
        try:
            dying.run_once()
        except Killed:
            deaths += 1
        for lock in dying._locks:  # as the kernel does
            lock.let_go()
        _fallen(world.main, directory).run_once()
        assert names(directory) == []
        assert sorted(claim.id for claim in world.drain()) == ["a", "b"]
        if not fate.dead:
            break
    else:
        pytest.fail("it died each time")
    assert deaths
