"""READY to LEASED to DONE: one owner, a token that rises, and settling by the owner alone, once."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from support.waiting import wait_until
from support.world import LEASE_US, World

from dueq.core.clock import US
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.store.values import Loss, Outcome


def lose(world: World, how: str, worker: str = "w1") -> None:
    """Take a started claim from ``worker``, one way or another."""
    if how == "reaped":
        assert len(world.store.reap(100, LEASE_US, 99).lost) == 1
    else:
        assert len(world.store.give_back(Loss(worker, "unstarted" if how == "disowned" else "worker_lost", 99))) == 1


def settlements(claim: Record) -> list[Outcome]:
    waits = [Outcome(claim, "retry", delay_us=5), Outcome(claim, "snooze", delay_us=5)]
    return [Outcome(claim, "ack"), *waits, Outcome(claim, "dead", reason="late")]


def test_nothing_ready(world: World) -> None:
    step = world.take()
    assert (step.started, step.held, step.settled, step.dropped) == (None, [], "", [])


def test_a_claim_is_the_task(world: World) -> None:
    world.ready("a")
    claim = world.started()
    assert (claim.id, claim.state, claim.starts, claim.worker, claim.cause) == ("a", State.LEASED, 1, "w1", "")
    assert claim.token > 0
    assert claim == world.store.record("a")
    assert world.states() == {"scheduled": 0, "ready": 0, "leased": 1, "dead": 0}
    assert world.settle("w1", Outcome(claim, "ack")) == "done"
    assert world.store.record("a") is None
    assert world.leftovers() == []


@pytest.mark.parametrize("how", ["lost", "reaped", "disowned", "retried"])
def test_the_token_rises_with_every_claim(world: World, how: str) -> None:
    world.ready("a")
    last = 0
    for _ in range(4):
        claim = world.started(lease_us=1)
        assert claim.token > last
        last = claim.token
        if how == "retried":
            assert world.settle("w1", Outcome(claim, "retry")) == "done"
            world.dispatch_all()
        else:
            lose(world, how)


@pytest.mark.parametrize("kind", ["ack", "retry", "snooze", "dead"])
@pytest.mark.parametrize("now", ["ready", "held", "leased", "done"])
def test_an_older_token_is_refused_and_changes_nothing(world: World, kind: str, now: str) -> None:
    world.ready("first")
    world.schedule("a")
    world.dispatch_all()
    assert world.started("w0").id == "first"
    old = world.started()
    [lost] = world.store.give_back(Loss("w1", "worker_lost", 99))
    assert lost.id == "a"
    if now in ("held", "leased", "done"):
        new = world.take("w2").started
        assert new is not None
        if now == "held":
            world.store.give_back(Loss("w2", "unstarted", 99))
            world.ready("b")
            world.store.give_back(Loss("w0", "worker_lost", 99))  # now ready: first, a, b
            step = world.take("w3", want=3)
            assert "a" in [record.id for record in step.held]
        elif now == "done":
            assert world.settle("w2", Outcome(new, "ack")) == "done"
    before = world.store.record("a"), world.states()
    [outcome] = [outcome for outcome in settlements(old) if outcome.kind == kind]
    assert world.settle("w1", outcome) == ("missing" if now == "done" else "stale")
    assert world.store.extend("w1", [old], LEASE_US) == [False]
    assert world.store.release("w1", [old]) == 0
    assert world.take("w1", want=0, start=old).started is None
    assert (world.store.record("a"), world.states()) == before


def test_settling_again(world: World) -> None:
    world.ready("a", "b", "c")
    ack, retry, dead = [world.started() for _ in range(3)]
    outcomes = [Outcome(ack, "ack"), Outcome(retry, "retry", delay_us=US), Outcome(dead, "dead", reason="why")]
    assert [world.settle("w1", outcome) for outcome in outcomes] == ["done"] * 3
    before = world.states(), world.store.record(retry.id)
    assert [world.settle("w1", outcome) for outcome in outcomes] == ["missing", "repeated", "repeated"]
    assert (world.states(), world.store.record(retry.id)) == before
    assert world.states() == {"scheduled": 1, "ready": 0, "leased": 0, "dead": 1}


def test_a_retry_waits_its_delay_and_says_why_it_starts(world: World) -> None:
    world.ready("a")
    claim = world.started()
    step = world.take(want=0, outcome=Outcome(claim, "retry", delay_us=30_000))
    record = world.store.record("a")
    assert record is not None
    assert record.due_us == step.now_us + 30_000
    assert (record.retries, record.starts, record.cause) == (1, 1, "retry")
    assert world.take().started is None
    wait_until(lambda: world.dispatch_all())
    again = world.started()
    assert (again.starts, again.cause) == (2, "retry")


@pytest.mark.parametrize("how", ["after", "until", "until a past time"])
def test_a_snooze_is_neither_an_attempt_nor_a_retry(world: World, how: str) -> None:
    world.ready("a")
    claim = world.started()
    due_us = {"after": 0, "until": world.now_us() + 3600 * US, "until a past time": 1}[how]
    outcome = Outcome(claim, "snooze", delay_us=30_000 if how == "after" else 0, due_us=due_us)
    step = world.take(want=0, outcome=outcome)
    record = world.store.record("a")
    assert record is not None
    assert record.due_us == {"after": step.now_us + 30_000, "until": due_us, "until a past time": step.now_us}[how]
    assert (record.retries, record.starts) == (0, 0)
    assert record.cause == ("retry" if world.format == "1" else "snoozed")
    assert world.settle("w1", outcome) == "repeated"
    if how != "until a past time":
        assert world.take().started is None, "not before that"
    if how == "until":
        assert world.store.reschedule("a", 0, relative=True)
    wait_until(lambda: world.dispatch_all())
    again = world.started()
    assert (again.starts, again.cause, again.body) == (1, record.cause, claim.body)
    assert again.token > claim.token
    world.settle("w1", Outcome(again, "retry"))
    world.dispatch_all()
    assert (world.started().starts, world.states()["dead"]) == (2, 0)


def test_a_claim_is_its_worker_s_even_where_another_knows_the_token(world: World) -> None:
    world.ready("a", "b")
    step = world.take("w1", want=2)
    assert step.started is not None
    [held] = step.held
    before = world.store.record("a"), world.store.record("b"), world.states()
    for outcome in settlements(step.started):
        assert world.settle("w2", outcome) == "stale"
    assert world.take("w2", want=0, start=held).started is None
    assert world.store.extend("w2", [step.started, held], LEASE_US) == [False, False]
    assert world.store.release("w2", [held]) == 0
    assert (world.store.record("a"), world.store.record("b"), world.states()) == before


def test_batches_hold_what_is_not_started(world: World) -> None:
    world.ready(*[f"t{number}" for number in range(5)])
    step = world.take(want=3)
    assert step.started is not None
    assert [record.id for record in [step.started, *step.held]] == ["t0", "t1", "t2"]
    assert [record.state for record in step.held] == [State.HELD, State.HELD]
    assert [record.starts for record in step.held] == [0, 0]
    assert world.states() == {"scheduled": 0, "ready": 2, "leased": 1, "dead": 0}  # held tasks have no lease
    second = world.take(want=3, outcome=Outcome(step.started, "ack"), start=step.held[0])
    assert second.settled == "done"
    assert second.started == step.held[0]._replace(state=State.LEASED, starts=1)
    assert [record.id for record in second.held] == ["t3", "t4"]  # and more are taken in the same step
    assert {record.state for record in second.held} == {State.HELD}
    assert world.states() == {"scheduled": 0, "ready": 0, "leased": 1, "dead": 0}


def test_want_is_filled_from_the_queues_in_order(world: World) -> None:
    world.ready("a1", "a2", queue="a")
    world.ready("b1", "b2", queue="b")
    step = world.take("w1", "b", "a", want=3)
    assert step.started is not None
    assert [record.id for record in [step.started, *step.held]] == ["b1", "b2", "a1"]


def test_want_nothing_takes_nothing(world: World) -> None:
    world.ready("a")
    assert world.take(want=0).started is None
    assert world.states()["ready"] == 1


def test_the_lease_runs_from_the_start(world: World) -> None:
    world.ready("a", "b")
    step = world.take(want=2, lease_us=1)
    [held] = step.held
    assert [lost.id for lost in world.store.reap(100, 1, 99).lost] == ["a"]
    second = world.take(want=0, start=held, lease_us=LEASE_US)
    assert second.started is not None
    reaped = world.store.reap(100, LEASE_US, 99)
    assert reaped.lost == []
    assert reaped.next_us == second.now_us + LEASE_US


@pytest.mark.parametrize("start_all", [False, True])
@pytest.mark.parametrize("how", ["release", "give_back", "reap"])
def test_a_held_task_that_was_taken_away_does_not_start(world: World, how: str, start_all: bool) -> None:
    world.ready("a", "b")
    [held] = world.take(want=2, start_all=start_all, lease_us=1 if how == "reap" else LEASE_US).held
    if how == "release":
        assert world.store.release("w1", [held]) == 1
    elif how == "give_back":
        assert world.store.give_back(Loss("w1", "unstarted", 99))
    else:
        world.store.reap(100, 1, 99)
        world.store.give_back(Loss("w1", "lease_expired", 99))
    assert world.take(want=0, start=held).started is None
    if how == "release":
        assert world.store.release("w1", [held]) == 0
        assert world.started("w2").id == "b"


@pytest.mark.parametrize("start_all", [False, True])
def test_a_start_that_comes_twice_counts_once(world: World, start_all: bool) -> None:
    """The lease runs from the last one."""
    world.ready("a", "b")
    [held] = world.take(want=2, start_all=start_all, lease_us=1).held
    for _ in range(2):
        started = world.take(want=0, start=held).started
        assert started is not None
        assert started.starts == 1
        assert world.store.record("b") == started
    assert [lost.id for lost in world.store.reap(100, 1, 99).lost] == ["a"]


def test_if_the_held_task_is_gone_nothing_else_starts_in_its_place(world: World) -> None:
    world.ready("a", "b", "c")
    [held] = world.take(want=2).held
    assert world.store.release("w1", [held]) == 1
    step = world.take(want=2, start=held)
    assert step.started is None
    assert [record.id for record in step.held] == ["b", "c"]


@pytest.mark.parametrize("kind", ["ack", "retry", "snooze", "dead"])
def test_what_is_settled_while_it_is_held_had_begun(world: World, kind: str) -> None:
    """The worker's word that it begins the task may be lost; that it has ended comes over another connection."""
    world.ready("a", "b")
    [held] = world.take(want=2).held
    assert world.store.extend("w1", [held], LEASE_US) == [True]
    [outcome] = [outcome for outcome in settlements(held) if outcome.kind == kind]
    assert world.settle("w1", outcome) == "done"
    assert world.settle("w1", outcome) == ("missing" if kind == "ack" else "repeated")
    assert world.take(want=0, start=held).started is None
    record = world.store.record("b")
    if kind == "ack":
        assert record is None
    else:
        assert record is not None
        assert record.starts == (kind != "snooze")


def test_what_a_dead_worker_had_begun_counts_as_started(world: World) -> None:
    world.ready("a", "b", "c")
    step = world.take(want=3)
    begun, unbegun = step.held
    lost = world.store.give_back(Loss("w1", "worker_lost", 99, begun=[begun.token, begun.token + 1000]))
    assert {one.id: one.how for one in lost} == {"a": "started", "b": "started", "c": "held"}
    again = {record.id: record for record in world.drain()}
    assert {task_id: (record.starts, record.cause) for task_id, record in again.items()} == {
        "a": (2, "worker_lost"),
        "b": (2, "worker_lost"),
        unbegun.id: (1, ""),
    }


@pytest.mark.parametrize("running", ["none", "started", "begun"])
def test_only_what_ran_when_its_worker_died_is_to_blame(world: World, running: str) -> None:
    world.ready("a", "b", "c")
    step = world.take(want=3)
    assert step.started is not None
    begun, _ = step.held
    token = {"none": 0, "started": step.started.token, "begun": begun.token}[running]
    tokens = [step.started.token, begun.token]
    lost = world.store.give_back(Loss("w1", "worker_lost", 1, begun=tokens, running=token))
    expected = {"a": "started", "b": "started", "c": "held"} | {
        "none": {},
        "started": {"a": "dead"},
        "begun": {"b": "dead"},
    }[running]
    assert {one.id: one.how for one in lost} == expected
    assert world.states()["dead"] == (running != "none")


@pytest.mark.parametrize("start_all", [False, True])
def test_release_keeps_the_order(world: World, start_all: bool) -> None:
    world.ready("a", "b", "c", "d")
    step = world.take(want=3, start_all=start_all)
    assert step.started is not None
    assert world.store.release("w1", [*reversed(step.held)]) == 2
    assert world.states() == {"scheduled": 0, "ready": 3, "leased": 1, "dead": 0}
    again = [world.started("w2") for _ in range(3)]
    assert [(claim.id, claim.starts) for claim in again] == [("b", 1), ("c", 1), ("d", 1)]


def test_extend_moves_the_end(world: World) -> None:
    world.ready("a", "b")
    claims = [world.started(lease_us=1), world.started(lease_us=1)]
    before = world.now_us()
    assert world.store.extend("w1", [claims[0]], LEASE_US) == [True]
    reaped = world.store.reap(100, 1, 99)
    assert [lost.id for lost in reaped.lost] == [claims[1].id]
    assert reaped.next_us is not None
    assert reaped.next_us >= before + LEASE_US
    assert world.store.extend("w1", claims, LEASE_US) == [True, False]


def test_a_worker_that_holds_nothing_is_not_watched(world: World) -> None:
    world.ready("a", "b", "c", "d", "e")
    acked, released = world.take(want=2, lease_us=1), world.take("w2", want=2, lease_us=1)
    assert acked.started is not None
    assert released.started is not None
    world.store.release("w1", acked.held)
    world.settle("w1", Outcome(acked.started, "ack"))
    world.take("w2", want=0, lease_us=1, outcome=Outcome(released.started, "ack"))
    world.store.release("w2", released.held)
    assert world.store.extend("w1", [], 1) == []
    assert world.store.reap(100, 1, 99).silent_workers == []


def test_two_workers_never_hold_the_same_task(world: World) -> None:
    count, workers = 600, 3
    world.ready(*[f"t{number}" for number in range(count)])
    runs: list[list[Record]] = [[] for _ in range(workers)]
    barrier = threading.Barrier(workers)

    def work(at: int) -> None:
        store, name, held = world.actor().store, f"w{at}", list[Record]()
        outcome: Outcome | None = None
        barrier.wait(10)
        while True:
            start = held.pop(0) if held else None
            step = world.take(name, want=3, outcome=outcome, start=start, store=store)
            assert step.settled == ("" if outcome is None else "done")
            held += step.held
            if step.started is None:
                return
            runs[at].append(step.started)
            outcome = Outcome(step.started, "ack")

    threads = [threading.Thread(target=work, args=(at,)) for at in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    every = [record for ran in runs for record in ran]
    assert Counter(record.id for record in every) == {f"t{number}": 1 for number in range(count)}
    assert len({record.token for record in every}) == count
    assert {record.starts for record in every} == {1}
    assert world.leftovers() == []


@pytest.mark.leaves_keys
def test_finishing_gets_through_when_memory_is_full(world: World) -> None:
    world.ready("a", "b")
    claim = world.started()
    world.redis.config_set("maxmemory", "1")
    try:
        assert world.settle("w1", Outcome(claim, "ack")) == "done"
    finally:
        world.redis.config_set("maxmemory", "0")
    assert world.store.record(claim.id) is None


@pytest.mark.scripted
@pytest.mark.leaves_keys
def test_a_full_redis_is_emptied_by_a_worker_that_comes_anew(world: World) -> None:
    """It has names of its own, which are nowhere yet."""
    world.ready("a", "b")
    newcomer = world.actor().store
    world.redis.config_set("maxmemory", "1")
    try:
        newcomer.knows(["f", "another"])
        step = world.take("new", store=newcomer)
        assert step.started is not None
        settled = world.take("new", want=0, outcome=Outcome(step.started, "ack"), store=newcomer).settled
        assert settled == "done"
    finally:
        world.redis.config_set("maxmemory", "0")
