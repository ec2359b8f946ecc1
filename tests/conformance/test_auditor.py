"""The auditor puts back tasks that are in no index or list, once, and counts them; it leaves all others alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.audits import HOUR_US, Audits, every_state
from support.mortal import Fate, Killed, interrupted, mortal
from support.servers import Load
from support.world import LEASE_US, World

from dueq.core.schema.keys import Keys
from dueq.core.schema.states import State
from dueq.core.store.values import Outcome

pytestmark = pytest.mark.few_servers

ID = "some-task"


def everything(world: World) -> dict[bytes, object]:
    """All that is in the namespace."""
    client: Any = world.redis
    read = {
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"set": client.smembers,
        b"string": client.get,
    }
    found = {key: read[client.type(key)](key) for key in client.keys(world.keys.prefix + "*")}
    found.pop(world.keys.plain("audited").encode(), None)
    return found


# -- what is in its place


def test_whatever_is_in_its_place_is_left_alone(world: World) -> None:
    every_state(world)
    before = everything(world)
    audits = Audits(world)
    for _ in range(3):
        assert audits.run() == {}
    assert everything(world) == before


def test_what_is_on_its_way_is_left_alone(world: World) -> None:
    """Between the two looks each task goes on to its next place."""
    world.ready("started", "held", "ready")
    step = world.take("w1", want=2)
    assert step.started is not None
    world.schedule("due")
    audits = Audits(world)
    gone = False
    for _ in audits.steps():
        if not gone:
            world.dispatch_all()
            assert world.settle("w1", Outcome(step.started, "retry")) == "done"
            assert world.take("w1", want=0, start=step.held[0]).started is not None
            assert world.started("w2").id == "ready"
            world.schedule("new", queue="new")
            gone = True
    assert audits.repairs == {}
    assert sorted(record.id for record in world.drain()) == ["due", "new", "started"]


# -- what is in no place


def lose_the_index(world: World) -> None:
    world.schedule(ID, delay_us=LEASE_US)
    world.strategy.clear(["q"])


def lose_a_due_one(world: World) -> None:
    world.schedule(ID)
    world.round_up()
    world.strategy.clear(["q"])


def lose_the_ready_list(world: World) -> None:
    world.ready(ID)
    world.redis.delete(world.keys.of("ready", "q"))


def lose_what_is_held(world: World) -> None:
    world.ready("running", ID)
    step = world.take("w1", want=2)
    world.redis.lrem(world.keys.of("held", "w1"), 1, ID)
    assert step.started is not None
    assert world.settle("w1", Outcome(step.started, "ack")) == "done"


def lose_the_lease_and_what_is_held(world: World) -> None:
    world.ready(ID)
    world.started("w1")
    world.redis.delete(world.keys.of("held", "w1"), world.keys.plain("leased"), world.keys.plain("workers"))


def lose_the_worker(world: World) -> None:
    world.ready("running", ID)
    step = world.take("w1", want=2)
    assert step.started is not None
    assert world.settle("w1", Outcome(step.started, "ack")) == "done"
    world.redis.delete(world.keys.plain("workers"))


def lose_the_dead_letters(world: World) -> None:
    world.ready(ID)
    assert world.settle("w1", Outcome(world.started("w1"), "dead", reason="why")) == "done"
    world.redis.delete(world.keys.of("dead", "q"))


LOSSES: dict[Callable[[World], None], str] = {
    lose_the_index: "scheduled",
    lose_a_due_one: "scheduled",
    lose_the_ready_list: "scheduled",
    lose_what_is_held: "held",
    lose_the_worker: "held",
    lose_the_lease_and_what_is_held: "leased",
    lose_the_dead_letters: "dead",
}


def bring_to_its_end(world: World) -> None:
    """The task of ``LOSSES`` runs, once, and nothing else does."""
    if world.store.depth("q").dead:
        [letter] = world.store.dead("q", 0, 10)
        assert letter.record.id == ID
        assert world.store.revive([ID]) == 1
    record = world.store.record(ID)
    assert record is not None
    if record.state == State.SCHEDULED and record.due_us > world.now_us():
        assert world.store.reschedule(ID, 0) is not None
    world.dispatch_all()
    step = world.take("w9", *world.store.queues(), want=10)
    assert step.dropped == []
    assert step.started is not None
    assert step.started.id == ID
    assert step.held == []
    assert world.settle("w9", Outcome(step.started, "ack")) == "done"
    assert world.take("w9").dropped == []


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_what_is_in_no_place_is_put_back_and_counted(
    world: World, lose: Callable[[World], None], caplog: pytest.LogCaptureFixture
) -> None:
    lose(world)
    audits = Audits(world)
    assert audits.run() == {LOSSES[lose]: 1}
    assert [record.levelname for record in caplog.records if ID in record.getMessage()] == ["WARNING"]
    assert audits.run() == {LOSSES[lose]: 1}
    bring_to_its_end(world)


def test_a_claim_that_was_lost_is_void_once_it_is_put_back(world: World) -> None:
    world.ready("a")
    claim = world.started("w1")
    world.redis.delete(world.keys.of("held", "w1"), world.keys.plain("leased"))
    assert Audits(world).run() == {"leased": 1}
    again = world.started("w2")
    assert (again.cause, again.starts) == ("lease_expired", 2)
    assert again.token > claim.token
    assert world.settle("w1", Outcome(claim, "ack")) == "stale"


def test_a_lease_that_is_there_is_the_reaper_s_business(world: World) -> None:
    world.ready("a")
    world.started("w1", lease_us=1)
    world.redis.delete(world.keys.of("held", "w1"))
    assert Audits(world).run() == {}
    assert [one.id for one in world.store.reap(100, 1, 3).lost] == ["a"]


def test_a_dispatcher_s_batch_that_nobody_knows_of_is_put_back(world: World) -> None:
    """Only where dispatchers have tasks in hand."""
    world.schedule("a", "b")
    world.round_up()
    fate = Fate()
    actor = mortal(world.actor("dying"), fate)
    for k in itertools.count(1):
        fate.at, fate.sent = k, 0
        with suppress(Killed):
            actor.strategy.dispatch(100)
        if not fate.dead:
            return  # at no point had it anything in hand
        fate.dead = False
        tmps: Any = world.redis.zrange(world.keys.plain("tmps"), 0, -1)
        if tmps:
            world.redis.delete(world.keys.plain("tmps"), *(world.keys.of("tmp", name.decode()) for name in tmps))
            break
    assert Audits(world).run() == {"scheduled": 2}
    assert sorted(record.id for record in world.drain()) == ["a", "b"]


def test_a_queue_that_is_not_listed_is_listed_again(world: World) -> None:
    every_state(world)
    assert Audits(world).run() == {}
    before = everything(world)
    world.redis.delete(world.keys.plain("queues"))
    assert Audits(world).run() == {"queue": 2}
    assert everything(world) == before


def test_tasks_of_which_only_the_way_to_them_is_lost_run(world: World) -> None:
    """Redis may evict a small key, and keep what it led to."""
    world.schedule("a", "b", delay_us=HOUR_US)
    world.schedule("c", "d", queue="other", delay_us=HOUR_US)
    world.redis.delete(world.keys.heads(world.strategy.name), *(world.keys.of("seconds", of) for of in ("q", "other")))
    audits = Audits(world)
    audits.run()
    audits.run()
    assert world.strategy.census(["q", "other"]) is not None
    assert len([due for due in world.strategy.first_due(["q", "other"]) if due is not None]) == 2
    assert world.strategy.earliest(lambda: ["other", "q"])


def test_two_auditors_that_find_the_same_put_it_back_once(world: World) -> None:
    world.schedule(*(f"t{number}" for number in range(20)))
    world.strategy.clear(["q"])
    audits = [Audits(world, world.actor()) for _ in range(2)]
    for steps in zip(*(one.steps() for one in audits), strict=False):
        assert len(steps) == 2
    assert sum(one.repairs.get("scheduled", 0) for one in audits) == 20
    world.dispatch_all()
    assert world.states()["ready"] == 20


def test_a_record_that_cannot_be_read_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.schedule("a")
    world.redis.hset(world.keys.record("odd"), "odd", "99|from the future")
    assert Audits(world).run() == {}
    assert "1 records are unreadable" in caplog.text
    assert world.redis.hget(world.keys.record("odd"), "odd") == b"99|from the future"
    world.redis.hdel(world.keys.record("odd"), "odd")


# -- void entries


def test_a_note_of_a_void_entry_that_is_gone_is_forgotten(world: World) -> None:
    world.ready("a", "b")
    assert world.store.cancel("a")
    assert world.store.cancel("b")
    world.redis.lrem(world.keys.of("ready", "q"), 1, "a")
    assert Audits(world).run() == {"revoked": 1}
    assert world.redis.hkeys(world.keys.plain("revoked")) == [b"b"]
    assert world.take().dropped == []


def test_a_note_that_changes_meanwhile_is_left(world: World) -> None:
    world.ready("a")
    assert world.store.cancel("a")
    assert world.store.forget_revoked({"a": 2, "b": 1}) == 0
    assert world.take().dropped == []


# -- queues without tasks


def test_queues_without_tasks_are_forgotten(world: World) -> None:
    every_state(world)
    world.ready("gone", queue="idle")
    world.settle("w3", Outcome(world.started("w3", "idle"), "ack"))
    world.schedule("cancelled", queue="never-used")
    assert world.store.cancel("cancelled")
    world.tidy()
    assert Audits(world).run() == {}
    assert world.store.queues() == ["other", "q"]
    world.schedule("again", queue="idle")
    assert world.store.queues() == ["idle", "other", "q"]
    assert "again" in [record.id for record in world.drain()]


@pytest.mark.parametrize("state", ["scheduled", "ready", "leased", "dead", "void"])
def test_a_queue_with_a_task_is_not_forgotten(world: World, state: str) -> None:
    if state == "scheduled":
        world.schedule("a", delay_us=HOUR_US)
    else:
        world.ready("a")
    if state in ("leased", "dead"):
        claim = world.started()
        if state == "dead":
            world.settle("w1", Outcome(claim, "dead"))
    if state == "void":
        assert world.store.cancel("a")
    # a strategy may keep its index where the store does not look: then the count decides
    if state != "scheduled":
        assert not world.store.forget_queue("q", 1)
    assert not world.store.forget_queue("q", 0)
    assert world.store.queues() == ["q"]


def test_a_task_scheduled_meanwhile_keeps_its_queue(world: World) -> None:
    """Before each single command of forgetting, somebody schedules a task and cancels it, or schedules one to stay."""
    for moment in range(12):
        queue, calls = f"q{moment}", itertools.count()
        world.schedule(f"first{moment}", queue=queue)
        assert world.store.cancel(f"first{moment}")
        world.tidy()

        def meanwhile(moment: int = moment, queue: str = queue, calls: Iterator[int] = calls) -> None:
            if next(calls) == moment:
                world.schedule(f"meanwhile{moment}", queue=queue)

        forgotten = interrupted(world.actor(), meanwhile).store.forget_queue(queue, 1)
        scheduled = next(calls) > moment
        assert (queue in world.store.queues()) is (scheduled or not forgotten)
        if scheduled:
            assert [record.id for record in world.drain()] == [f"meanwhile{moment}"]


# -- it dies itself


@pytest.mark.crash_points
@pytest.mark.leaves_keys  # checked at each point instead
@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
@pytest.mark.timeout(300)
def test_crash_points_of_the_auditor(
    redis_url: str,
    strategy_name: str,
    lose: Callable[[World], None],
    load: Load,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It dies before or after each command of an audit; another one finds what is lost, unless it was put back."""
    monkeypatch.setattr(Keys, "records", lambda keys: iter([keys.record(ID)]))
    numbers = itertools.count()

    def at(fate: Fate) -> None:
        world = World(redis_url, f"audit{next(numbers)}", strategy_name)
        try:
            lose(world)
            actor = mortal(world.actor(), fate)
            try:
                Audits(world, actor, grace=0).run()
            except Killed:
                actor.close()
            assert fate.dead is (fate.at > 0)
            repairs = Audits(world, grace=0).run()
            assert repairs in ({}, {LOSSES[lose]: 1})
            assert fate.at > 0 or repairs == {}
            bring_to_its_end(world)
            assert world.leftovers() == []
        finally:
            world.close()

    at(Fate())
    whole = Fate()
    at(whole)
    points = load.deaths(whole.sent, every=1)
    for k, when in points:
        at(Fate(k, when))
    record_property("crash points", len(points))
