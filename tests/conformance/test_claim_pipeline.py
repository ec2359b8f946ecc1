"""A worker's claim pipeline: held tasks begin without waiting for Redis. Whatever request or reply is lost, no task is
silently run twice, and none is forgotten.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import ANY

import pytest
from redis.exceptions import ConnectionError
from support.hired import WORKER, Hired
from support.severed import Cut, How, severed
from support.waiting import wait_until
from support.world import SCRIPTED, World

from dueq.core.app.context import rescheduled_itself
from dueq.core.clock import US
from dueq.core.schema.states import State
from dueq.core.store.values import Loss, NewTask, Outcome, Step
from dueq.core.worker.lease_extender import LeaseExtender

TASKS = 10


EACH_OR_MANY = pytest.mark.parametrize(
    "many", [False, pytest.param(True, marks=pytest.mark.scripted)], ids=["each", "many"]
)
"""Steps for each task; and for many, as with a backlog of short tasks, where scripts run."""


@pytest.fixture
def many() -> bool:
    return False


@pytest.fixture
def hired(world: World, many: bool) -> Iterator[Hired]:
    world.ready(*[f"t{number}" for number in range(TASKS)])
    worker = Hired(world.actor(), many=many)
    yield worker
    worker.leave()


@EACH_OR_MANY
def test_everything_runs_once_in_order_and_is_settled(world: World, hired: Hired) -> None:
    hired.turns()
    assert list(hired.starts) == [f"t{number}" for number in range(TASKS)]
    assert all(len(claims) == 1 and claims[0].starts == 1 for claims in hired.starts.values())
    assert (hired.done, hired.duplicates) == (TASKS, 0)
    assert world.states() == {"scheduled": 0, "ready": 0, "leased": 0, "dead": 0}


def _stopped_after_replies(world: World) -> int:
    """Stop the server once it has replied to all that was sent before; returns its pid."""
    world.redis.ping()  # the server writes the replies of one turn of its loop together, and this one perhaps first
    server = int(world.redis.info()["process_id"])
    os.kill(server, signal.SIGSTOP)
    return server


@EACH_OR_MANY
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_what_is_held_begins_although_redis_stands_still(world: World, hired: Hired) -> None:
    server = int(world.redis.info()["process_id"])
    assert hired.turn() is not None
    os.kill(server, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert [claim.id for claim in (hired.turn() for _ in range(4)) if claim] == ["t1", "t2", "t3", "t4"]
        assert time.monotonic() - began < 5
    finally:
        os.kill(server, signal.SIGCONT)
    hired.turns()
    assert (hired.done, hired.duplicates) == (TASKS, 0)


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_each_outcome_is_on_its_way_before_the_next_task_begins(world: World, hired: Hired) -> None:
    for number in range(4):
        claim = hired.turn()
        assert claim is not None
        assert claim.id == f"t{number}"
        # a client of its own: Redis may answer it first, but has then read what was sent before
        deadline = time.monotonic() + 5
        while number and world.store.record(f"t{number - 1}") is not None:
            assert time.monotonic() < deadline, "nothing that this worker does next was needed"
        record = world.store.record(claim.id)
        assert record is not None
        assert (record.state, record.starts, record.token) == (State.LEASED, 1, claim.token)


@EACH_OR_MANY
@pytest.mark.parametrize("how", ["before", "after"])
def test_a_connection_that_is_lost_loses_and_repeats_nothing(
    redis_url: str, strategy_name: str, how: How, many: bool
) -> None:
    """At each command that a worker sends, until its work is done."""
    at, whole, count = 0, 0, 24  # more than may wait for their answers
    while True:
        world = World(redis_url, f"pipeline{at}", strategy_name)
        try:
            world.ready(*[f"t{number}" for number in range(count)])
            cut = Cut(at, how)
            worker = Hired(severed(world.actor(), cut), many=many)
            worker.turns()
            for _ in range(2):
                with suppress(ConnectionError):
                    worker.leave()
            assert len(worker.starts) == count, at
            assert all(len(claims) == 1 for claims in worker.starts.values()), at
            assert (worker.done, worker.duplicates) == (count, 0), at
            assert world.leftovers() == []
        finally:
            world.close()
        whole = whole or cut.sent
        at += 1
        if at > whole:
            return


@EACH_OR_MANY
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_what_a_dead_worker_could_not_tell_is_known_from_its_counters(
    redis_url: str, strategy_name: str, many: bool
) -> None:
    """From its k-th command on nothing gets to Redis; it dies some tasks later. Its counters outlive it."""
    for at in range(1, TASKS + 2):
        for more in range(5):
            world = World(redis_url, f"dead{at}.{more}", strategy_name)
            try:
                world.ready(*[f"t{number}" for number in range(TASKS)])
                cut = Cut()
                worker = Hired(severed(world.actor(), cut), many=many)
                worker.turn()
                cut.at, cut.how = cut.sent + at, "unnoticed"
                while cut.sent < cut.at + more and len(worker.starts) < TASKS:
                    if not worker.pipeline._held and cut.sent >= cut.at - 1:
                        break  # it would wait for an answer that never comes
                    worker.turn()
                world.store.give_back(
                    Loss(WORKER, "worker_lost", 99, begun=worker.counters.begun, running=worker.counters.token)
                )
                again = defaultdict(list)
                for record in world.drain("w2"):
                    again[record.id].append(record)
                for number in range(TASKS):
                    task_id = f"t{number}"
                    assert worker.starts.get(task_id) or again[task_id], "lost"
                    assert len(again[task_id]) <= 1
                    if task_id in worker.starts:
                        assert all(record.cause == "worker_lost" for record in again[task_id]), "a silent duplicate"
                        assert all(record.losses == 0 for record in again[task_id]), "none of them ran when it died"
                    else:
                        assert all(record.cause == "" and record.starts == 1 for record in again[task_id])
                assert world.leftovers() == []
            finally:
                world.close()


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_a_start_that_comes_too_late_is_counted(world: World, hired: Hired) -> None:
    assert hired.turn() is not None
    lost = world.store.give_back(Loss(WORKER, "lease_expired", 99))  # it has been heard of since
    assert lost == []
    lost = world.store.give_back(Loss(WORKER, "unstarted", 99))  # behind its back
    assert len(lost) == 5
    hired.turns()
    assert hired.counted("dueq_duplicates_total", cause="lease_expired") > 0, "its start"
    assert hired.counted("dueq_duplicates_total", cause="stale_ack") > 0, "its end"
    again = {record.id for record in world.drain("w2")}
    assert all(len(claims) == 1 or claims for claims in hired.starts.values())
    assert len(hired.starts) + len(again - set(hired.starts)) == TASKS


@EACH_OR_MANY
def test_held_tasks_wait_for_an_answer_when_redis_has_not_heard_of_the_worker_lately(world: World, many: bool) -> None:
    world.ready("a", "b", "c")
    worker = Hired(world.actor(), prefetch=3, lease=0.2, many=many)
    worker.begin()
    time.sleep(0.25)
    reaped = world.store.reap(100, 200_000, 99)
    assert many or reaped.silent_workers == [WORKER]
    assert len([*reaped.lost, *world.store.give_back(Loss(WORKER, "lease_expired", 99))]) >= 2
    other = Hired(world.actor(), prefetch=1, name="w2")
    other.turns()
    assert set(other.starts) == {"a", "b", "c"}
    worker.turns()
    assert list(worker.starts) == ["a"], "what another has is not begun"
    assert worker.duplicates == 1  # its own, refused
    worker.leave()
    other.leave()


@EACH_OR_MANY
def test_the_lease_extender_gives_what_waits_to_others_and_settles_what_is_in_doubt(world: World, hired: Hired) -> None:
    first = hired.turn()
    second = hired.turn()
    assert first is not None
    assert second is not None
    hired.pipeline.tidy(release=False)
    waiting = hired.pipeline.loose_ends
    hired.pipeline.tidy(release=True)
    assert waiting, "tasks that were held, though all was answered"
    assert not hired.pipeline.loose_ends
    assert world.store.record(first.id) is None
    others = [record.id for record in world.drain("w2")]
    assert others == [f"t{number}" for number in range(2, TASKS)]
    assert hired.turn() is None
    assert (hired.done, hired.duplicates) == (2, 0)


@EACH_OR_MANY
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_the_lease_extender_settles_what_a_lost_connection_left_in_doubt(world: World, hired: Hired) -> None:
    first = hired.turn()
    assert first is not None
    assert hired.turn() is not None
    hired.pipeline._channel._wire._connection.disconnect()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        hired.pipeline.tidy(release=False)
    hired.pipeline.tidy(release=False)
    assert world.store.record(first.id) is None
    hired.turns()
    assert (hired.done, hired.duplicates) == (TASKS, 0)
    assert all(len(claims) == 1 for claims in hired.starts.values())


@EACH_OR_MANY
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_scripts_that_are_forgotten_meanwhile_do_no_harm(world: World, hired: Hired) -> None:
    for _ in range(3):
        hired.turn()
    world.redis.script_flush()
    hired.turns()
    assert (hired.done, hired.duplicates) == (TASKS, 0)
    assert all(len(claims) == 1 for claims in hired.starts.values())


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_no_more_is_asked_for_than_it_may_hold(world: World, hired: Hired) -> None:
    """What is on its way counts."""
    assert hired.turn() is not None
    server = int(world.redis.info()["process_id"])
    os.kill(server, signal.SIGSTOP)
    try:
        while hired.pipeline._held:
            assert hired.turn() is not None
        assert 0 < sum(sent.want for sent in hired.pipeline._sent) < 5
    finally:
        os.kill(server, signal.SIGCONT)
    hired.turns()


@pytest.mark.parametrize("most", [1, 2, 4])
def test_no_more_is_taken_than_may_still_be_run(world: World, hired: Hired, most: int) -> None:
    ran = 0
    outcome = None
    while ran < most:
        claim, _ = hired.pipeline.step(["q"], outcome, most - ran)
        assert claim is not None
        hired.starts[claim.id].append(claim)
        outcome, ran = Outcome(claim, "ack"), ran + 1
    assert not hired.pipeline._held
    hired.pipeline.leave(outcome)
    assert world.states()["ready"] == TASKS - most


def test_what_it_was_given_while_it_stood_still_is_not_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asleep, it is leased a task by Redis alone; it may be long until it learns of that."""
    worker = Hired(world.actor(), prefetch=1, lease=0.4)
    assert worker.turn() is None
    world.ready("a")
    before = time.monotonic_ns()
    worker.pipeline._clock.observe(
        world.now_us(), before, time.monotonic_ns()
    )  # a strategy that rounds up has set its clock
    asleep = worker.pipeline._channel.sleep

    def stopped(*arguments: Any) -> str:
        woken = asleep(*arguments)
        time.sleep(0.45)
        return woken

    with monkeypatch.context() as stops:
        stops.setattr(worker.pipeline._channel, "sleep", stopped)
        assert worker.pipeline.sleep(["q"], None, 5.0) in (None, (None, ANY))
    [lost] = world.store.reap(100, 400_000, 99).lost
    assert (lost.id, lost.how) == ("a", "started")
    other = Hired(world.actor(), prefetch=1, name="w2")
    other.turns()
    worker.turns()
    assert (list(other.starts), list(worker.starts)) == (["a"], [])
    assert worker.duplicates == 0
    worker.leave()
    other.leave()


@EACH_OR_MANY
def test_it_trusts_nothing_once_something_was_taken_from_it(world: World, many: bool) -> None:
    """Also if what it takes in the same step makes up for the number."""
    ids = [f"t{number}" for number in range(TASKS)]
    world.ready(*ids)
    worker = Hired(world.actor(), prefetch=4, lease=0.4, many=many)
    worker.begin()
    worker.begin()
    time.sleep(0.45)
    for silent in world.store.reap(100, 400_000, 99).silent_workers:
        world.store.give_back(Loss(silent, "lease_expired", 99))
    other = Hired(world.actor(), prefetch=1, name="w2")
    for _ in range(4):
        other.turn()
    mine = dict(worker.starts)
    worker.turns()
    other.turns()
    again = [task_id for task_id in other.starts if task_id in worker.starts]
    assert set(again) <= set(mine), "only what had begun before it fell silent"
    for task_id, claims in (*worker.starts.items(), *other.starts.items()):
        told = many and task_id in mine and claims[-1].cause == "lease_expired"
        assert len(claims) == 1 or told
    assert worker.starts.keys() | other.starts.keys() == set(ids)
    worker.leave()
    other.leave()


@EACH_OR_MANY
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_it_trusts_nothing_once_redis_counts_fewer_than_it_holds(world: World, many: bool) -> None:
    """Its own start got there first: only the number tells that others were given what is behind it."""
    world.ready(*[f"t{number}" for number in range(TASKS)])
    worker, other = Hired(world.actor(), prefetch=5, many=many), Hired(world.actor(), prefetch=1, name="w2")
    assert worker.turn() is not None
    assert world.store.release(WORKER, worker.held()[2:]) == 2  # behind its back
    other.turns()
    assert worker.turn() is not None
    worker.pipeline.tidy(release=False)  # as its lease extender does, while the task runs
    worker.turns()
    worker.leave()
    assert not worker.starts.keys() & other.starts.keys()
    assert (worker.done + other.done, worker.duplicates) == (TASKS, 0)
    other.leave()


@EACH_OR_MANY
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_a_start_lost_after_something_was_taken_is_not_taken_for_done(world: World, many: bool) -> None:
    """Redis is known to have given this worker's tasks to others: a task that is gone may have been run by them."""
    world.ready(*[f"t{number}" for number in range(TASKS)])
    worker, other = Hired(world.actor(), prefetch=5, many=many), Hired(world.actor(), prefetch=1, name="w2")
    worker.turn()
    assert world.store.give_back(Loss(WORKER, "unstarted", 99))  # behind its back
    other.turns()
    assert len(other.starts) == TASKS
    worker.turn()
    wire = worker.pipeline._channel._wire  # type: ignore[attr-defined]
    assert wire.readable(5), "that the task was taken is on its way"
    server = _stopped_after_replies(world)
    try:
        worker.turn()
        assert len(worker.starts) == 3, "begun on trust"
        worker.pipeline._receive(1)
        wire._connection.disconnect()  # and word of the third start, or its answer, is lost
    finally:
        os.kill(server, signal.SIGCONT)
    before = worker.counted("dueq_duplicates_total", cause="stale_ack")
    worker.turns()
    assert worker.counted("dueq_duplicates_total", cause="stale_ack") > before
    worker.leave()
    other.leave()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_a_start_lost_after_redis_lost_data_is_not_taken_for_done(world: World) -> None:
    """A Redis that forgot may have given others what this worker holds, although the number is right."""
    world.ready(*[f"t{number}" for number in range(TASKS)])
    worker, other = Hired(world.actor(), prefetch=5), Hired(world.actor(), prefetch=1, name="w2")
    while not worker.pipeline._taking or not worker.starts:
        world.redis.set(world.keys.plain("token"), 1)
        assert worker.turn() is not None
    wire = worker.pipeline._channel._wire  # type: ignore[attr-defined]
    assert wire.readable(5), "that Redis lost data is on its way"
    server = _stopped_after_replies(world)
    try:
        begun = worker.turn()
        assert begun is not None, "begun on trust"
        worker.pipeline._receive(1)
        wire._connection.disconnect()  # and word of that start, or its answer, is lost
    finally:
        os.kill(server, signal.SIGCONT)
    while begun.id not in other.starts:  # the word of the start may get there late
        world.store.give_back(Loss(WORKER, "worker_lost", 99))
        other.turns()
    before = worker.counted("dueq_duplicates_total", cause="stale_ack")
    worker.turns()
    assert worker.counted("dueq_duplicates_total", cause="stale_ack") > before
    worker.leave()
    other.leave()


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_what_is_given_back_is_not_begun_by_a_late_answer(world: World) -> None:
    count = 20
    world.ready(*[f"t{number}" for number in range(count)])
    worker, other = Hired(world.actor(), prefetch=4), Hired(world.actor(), prefetch=1, name="w2")
    for number in range(8):
        assert worker.turn() is not None
        time.sleep(0.02)
        if number == 2:  # sent long ago, by a connection that is closed
            assert world.store.advance(Step(WORKER, ["q"], 60 * US, want=1)).started is not None
    other.turns()
    worker.turns()
    started = [*worker.starts.values(), *other.starts.values()]
    assert len(started) == sum(map(len, started)) == count
    assert (worker.done + other.done, worker.duplicates) == (count, 0)
    worker.leave()
    other.leave()


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_what_arrived_before_an_outage_shorter_than_the_lease_counts_as_done(world: World) -> None:
    world.ready(*[f"t{number}" for number in range(TASKS)])
    worker = Hired(world.actor(), lease=2.0)
    for _ in range(4):
        worker.turn()
    wait_until(lambda: world.store.record("t2") is None, 5)
    worker.pipeline._channel._wire._connection.disconnect()  # type: ignore[attr-defined]
    time.sleep(1.1)  # longer than it trusts what it holds
    worker.turns()
    assert (worker.done, worker.duplicates) == (TASKS, 0)
    worker.leave()


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_a_task_that_runs_again_after_itself_is_no_duplicate_of_itself(world: World) -> None:
    """Word that it was settled is lost, and its next run is another worker's by the time that it is asked for again."""
    world.ready("a", *[f"t{number}" for number in range(TASKS)])
    worker = Hired(world.actor())
    claim = worker.turn()
    assert claim is not None
    assert world.store.again(NewTask(claim.id, "other", 0, b'["g",[]]', True), claim.token)
    rescheduled_itself.add(claim.token)
    worker.turn()
    wait_until(lambda: (now := world.store.record(claim.id)) is not None and now.state == State.SCHEDULED, 5)
    world.dispatch_all()
    assert world.started("w2", "other").id == claim.id
    worker.pipeline._channel._wire._connection.disconnect()  # type: ignore[attr-defined]
    worker.turns()
    assert (worker.done, worker.duplicates) == (TASKS + 1, 0)
    assert claim.token not in rescheduled_itself
    worker.leave()


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_a_connection_that_is_closed_while_a_task_runs_is_no_trouble(world: World, hired: Hired) -> None:
    assert hired.turn() is not None
    server: Any = world.redis
    server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert hired.turn() is not None
    assert hired.done == 0, "not heard yet"
    hired.turns()
    assert (hired.done, hired.duplicates) == (TASKS, 0)


@pytest.mark.parametrize("change", [("strategy", "another"), ("format", "99")], ids=["moved", "newer"])
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_the_lease_extender_goes_on_when_the_namespace_is_another_s(world: World, change: tuple[str, str]) -> None:
    """What has begun is to stay its own until it ends, though the step that said so is refused."""
    world.ready("a", "b", "c", "d")
    actor = world.actor()
    worker = Hired(actor, prefetch=2, lease=0.6)
    extender = LeaseExtender(actor, WORKER, 0.6, worker.pipeline)
    extender.start()
    worker.begin()
    meta = world.keys.plain("meta")
    field, value = change
    kept = world.redis.hget(meta, field)
    world.redis.hset(meta, "by", "engine")
    world.redis.hset(meta, field, value)
    try:
        worker.pipeline._standing._trusted_until = (
            time.monotonic() + 60
        )  # Redis has just been heard, however busy this machine is
        second = worker.turn()
        assert second is not None
        extender.runs(second)
        time.sleep(1.2)
        assert world.store.give_back(Loss("nobody", "worker_lost", 99)) == []
        life: Any = world.redis.zscore(world.keys.plain("workers"), WORKER)
        assert life > world.now_us(), "or others are given what runs"
    finally:
        world.redis.hset(meta, field, kept)
        extender.stop()
    worker.turns()
    worker.leave()
    assert sorted(worker.starts) == ["a", "b", "c", "d"]
    assert (worker.done, worker.duplicates) == (4, 0)


def test_nothing_waits_behind_a_task_that_is_not_known_to_be_short(world: World) -> None:
    count = 60
    world.ready(*[f"t{number}" for number in range(count)])
    worker = Hired(world.actor(), prefetch=0)
    while len(worker.pipeline._held) < 5:
        assert worker.turn() is not None
    worker.seconds = 1.0
    assert worker.turn() is not None
    assert worker.pipeline._held, "they wait behind what was believed to be short"
    assert worker.turn() is not None
    assert not worker.pipeline._held
    assert world.states()["ready"] == count - len(worker.starts)
    worker.turns()
    worker.leave()
    assert len(worker.starts) == worker.done == count


def test_a_name_that_is_not_known_is_told_of_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.ready("g1", "g2", calls="g")
    world.ready("h1", calls="h")
    worker = Hired(world.actor())
    worker.pipeline.know(["f"])
    worker.turns()
    worker.leave()
    said = [record.getMessage() for record in caplog.records if "put aside" in record.getMessage()]
    assert [[f"calls {name!r}" in text for name in "gh"] for text in said] == [[True, False], [False, True]]
    assert world.unclaimed() == 3
