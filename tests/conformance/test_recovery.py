"""LEASED back to READY: owners that died or fell silent, and owners that disown claims whose replies they never got."""

from __future__ import annotations

import pytest
from support.world import LEASE_US, World

from dueq.core.store.values import Loss, Lost, Outcome


def test_a_dead_worker_s_tasks_run_again_at_once(world: World) -> None:
    world.ready("a", "b", "c")
    step = world.take(want=3)
    assert step.started is not None
    since = step.now_us - 5
    lost = world.store.give_back(Loss("w1", "worker_lost", 3, since))
    assert sorted(lost, key=lambda one: one.id) == [
        Lost("a", "q", "started"),
        Lost("b", "q", "held"),
        Lost("c", "q", "held"),
    ]
    again = [world.started("w2") for _ in range(3)]
    assert [record.id for record in again] == ["a", "b", "c"]
    assert [record.cause for record in again] == ["worker_lost", "", ""]
    assert [record.since_us for record in again] == [since, 0, 0]
    assert [record.losses for record in again] == [1, 0, 0]
    assert [record.starts for record in again] == [2, 1, 1]


def test_giving_back_again_does_nothing(world: World) -> None:
    world.ready("a")
    world.started()
    assert len(world.store.give_back(Loss("w1", "worker_lost", 3))) == 1
    assert world.store.give_back(Loss("w1", "worker_lost", 3)) == []
    claim = world.started("w2")
    assert world.store.give_back(Loss("w1", "worker_lost", 3)) == []
    assert world.store.record("a") == claim


def test_disowned_claims_do_not_count(world: World) -> None:
    world.ready("a", "b")
    world.take(want=2)
    lost = world.store.give_back(Loss("w1", "unstarted", 1))
    assert {(one.id, one.how) for one in lost} == {("a", "held"), ("b", "held")}
    again = world.started()
    assert (again.id, again.starts, again.losses, again.cause) == ("a", 1, 0, "")


def test_a_task_that_kills_its_workers_is_buried(world: World) -> None:
    world.ready("a", "bystander")
    for round_ in range(1, 4):
        step = world.take(f"w{round_}", want=2)
        assert step.started is not None
        assert step.started.id == "a"
        lost = {one.id: one.how for one in world.store.give_back(Loss(f"w{round_}", "worker_lost", 3))}
        assert lost == {"a": "dead" if round_ == 3 else "started", "bystander": "held"}
    [letter] = world.store.dead("q", 0, 10)
    assert (letter.record.id, letter.record.losses) == ("a", 3)
    assert "3 times" in letter.reason
    assert world.started().id == "bystander"


def test_lost_leases_are_no_losses(world: World) -> None:
    world.ready("a")
    for _ in range(5):
        world.started(lease_us=1)
        assert [one.how for one in world.store.reap(100, 1, 2).lost] == ["started"]


def test_a_lease_that_ran_out_is_taken_back(world: World) -> None:
    world.ready("a", "b")
    step = world.take(lease_us=500)
    assert step.started is not None
    world.started("w2")
    while world.now_us() <= step.now_us + 500:
        pass
    reaped = world.store.reap(100, 500, 3)
    assert reaped.lost == [Lost("a", "q", "started")]
    again = world.started("w2")
    assert (again.id, again.cause, again.since_us, again.losses) == ("a", "lease_expired", step.now_us, 0)
    assert world.settle("w1", Outcome(step.started, "ack")) == "stale"


def test_no_lease_is_out(world: World) -> None:
    world.ready("a")
    reaped = world.store.reap(100, LEASE_US, 3)
    assert (reaped.next_us, reaped.lost, reaped.silent_workers) == (None, [], [])


def test_a_live_lease_is_left_alone_and_its_end_is_told(world: World) -> None:
    world.ready("a", "b", queue="one")
    world.ready("c", queue="two")
    world.take("w1", "one")
    step = world.take("w2", "two", lease_us=LEASE_US // 2)
    reaped = world.store.reap(100, LEASE_US, 3)
    assert (reaped.lost, reaped.silent_workers) == ([], [])
    assert reaped.next_us == step.now_us + LEASE_US // 2


def test_a_lease_without_a_claim_is_forgotten(world: World) -> None:
    """What an ack at maxmemory leaves behind if it is cut short; the id may be in use again, in another queue."""
    for task_id in ("gone", "again"):
        world.ready(task_id)
        world.started("w1", lease_us=1)
        world.redis.hdel(world.keys.record(task_id), task_id)
        world.redis.lrem(world.keys.of("held", "w1"), 1, task_id)
    assert world.store.give_back(Loss("w1", "lease_expired", 3)) == []
    world.ready("again", queue="other")
    claim = world.started("w2", "other")
    reaped = [world.store.reap(100, 1, 3) for _ in range(2)]
    assert [one.lost for one in reaped] == [[], []]
    assert reaped[1].next_us is not None
    assert reaped[1].next_us > reaped[1].now_us
    assert world.settle("w2", Outcome(claim, "ack")) == "done"


def test_silent_workers_are_named_and_their_held_tasks_come_back(world: World) -> None:
    world.ready("a", "b")
    world.take(want=2, lease_us=1)
    reaped = world.store.reap(100, 1, 3)
    assert [one.id for one in reaped.lost] == ["a"]
    assert reaped.silent_workers == ["w1"]
    assert [one.id for one in world.store.give_back(Loss("w1", "lease_expired", 3))] == ["b"]
    again = world.store.reap(100, 1, 3)
    assert (again.silent_workers, again.next_us) == ([], None)


def test_a_worker_heard_of_in_the_meantime_keeps_its_tasks(world: World) -> None:
    world.ready("a", "b")
    [held] = world.take(want=2, lease_us=1).held
    assert world.store.reap(100, 1, 3).silent_workers == ["w1"]
    claim = world.take(want=0, start=held).started  # it was only slow
    assert claim is not None
    assert world.store.give_back(Loss("w1", "lease_expired", 3)) == []
    assert world.settle("w1", Outcome(claim, "ack")) == "done"


def test_reaping_is_bounded(world: World) -> None:
    world.ready(*[f"t{number}" for number in range(25)], queue="one")
    world.ready(*[f"u{number}" for number in range(25)], queue="two")
    for number in range(50):
        world.started(f"w{number}", "one", "two", lease_us=1)
    sizes, silent = [], 0
    for _ in range(6):
        reaped = world.store.reap(10, 1, 3)
        sizes.append(len(reaped.lost))
        if sum(sizes) < 50:
            assert reaped.next_us is not None
            assert reaped.next_us <= reaped.now_us
        silent = max(silent, len(reaped.silent_workers))
    assert sizes == [10, 10, 10, 10, 10, 0]
    assert silent <= 10


def test_giving_back_very_many(world: World) -> None:
    ids = [f"t{number:03}" for number in range(350)]
    world.ready(*ids)
    step = world.take(want=350)
    assert step.started is not None
    while world.states()["ready"]:
        world.take(want=350, start=step.started)
    assert len(world.store.give_back(Loss("w1", "worker_lost", 3))) == 350
    assert [record.id for record in world.drain()] == ids


@pytest.mark.parametrize("how", ["give_back", "reap"])
def test_what_was_settled_is_not_given_back(world: World, how: str) -> None:
    world.ready("done", "retried", "dead")
    claims = [world.started(lease_us=1) for _ in range(3)]
    outcomes = [Outcome(claims[0], "ack"), Outcome(claims[1], "retry", delay_us=LEASE_US), Outcome(claims[2], "dead")]
    for outcome in outcomes:
        assert world.settle("w1", outcome) == "done"
    if how == "give_back":
        assert world.store.give_back(Loss("w1", "worker_lost", 3)) == []
    else:
        assert world.store.reap(100, 1, 3).lost == []
    assert world.states() == {"scheduled": 1, "ready": 0, "leased": 0, "dead": 1}
