"""A task that schedules its own id while it runs means: after this run. No kill at any moment loses the next run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import pytest
from support.audits import Audits
from support.mortal import Fate, Killed, mortal
from support.servers import Load
from support.world import LEASE_US, World, keeps_scripted

from dueq.admin.housekeeping import purge
from dueq.core.namespace import Namespace
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.store.values import Loss, NewTask, Outcome, Step

HOUR_US = 3600 * 1_000_000
NEXT = b'["next",[2]]'
Kind = Literal["ack", "retry", "snooze", "dead"]


def next_call(task_id: str = "a", *, queue: str = "q", delay_us: int = 0, body: bytes = NEXT) -> NewTask:
    return NewTask(task_id, queue, delay_us, body, True)


def begun(world: World, task_id: str = "a") -> Record:
    world.ready(task_id)
    return world.started()


def ended(world: World, claim: Record, kind: Kind) -> str:
    return world.settle("w1", Outcome(claim, kind, delay_us=0, reason="why"))


def record(world: World, task_id: str = "a") -> Record:
    found = world.store.record(task_id)
    assert found is not None
    return found


def kept(world: World) -> int:
    return int(world.redis.hlen(world.keys.plain("again")))


def apart(world: World, claim: Record) -> str:
    """The id under which this run is buried, if its task runs again."""
    world._ids.add(found := f"{claim.id}~{claim.token}")
    return found


@pytest.mark.parametrize("delay_us", [0, HOUR_US])
@pytest.mark.parametrize("queue", ["q", "other"])
def test_it_becomes_the_task_once_the_run_is_done(world: World, queue: str, delay_us: int) -> None:
    claim = begun(world)
    assert world.store.again(next_call(queue=queue, delay_us=delay_us), claim.token)
    assert record(world) == claim
    assert ended(world, claim, "ack") == "done"
    found = record(world)
    assert (found.state, found.queue, found.body) == (State.SCHEDULED, queue, NEXT)
    assert (found.starts, found.retries, found.losses, found.cause) == (0, 0, 0, "")
    assert kept(world) == 0
    assert queue in world.store.queues()
    assert ended(world, claim, "ack") == "repeated"
    if delay_us:
        assert found.due_us - world.now_us() > HOUR_US / 2
        assert world.states(queue)["scheduled"] == 1
        assert world.store.reschedule("a", 0) is not None
    [again] = world.drain()
    assert (again.body, again.starts, again.cause) == (NEXT, 1, "")
    assert again.token > claim.token


@pytest.mark.parametrize("kind", ["retry", "snooze"])
def test_a_run_that_goes_on_keeps_its_own_arguments(world: World, kind: Kind) -> None:
    claim = begun(world)
    world.store.again(next_call(), claim.token)
    assert ended(world, claim, kind) == "done"
    assert record(world).body == claim.body
    world.dispatch_all()
    retried = world.started()
    assert retried.body == claim.body
    assert ended(world, retried, "ack") == "done"
    assert record(world).body == NEXT


@pytest.mark.parametrize("name", ["a", "x" * 128])
def test_a_dead_letter_gets_an_id_of_its_own(world: World, name: str) -> None:
    claim = begun(world, name)
    world.store.again(next_call(name), claim.token)
    assert ended(world, claim, "dead") == "done"
    [letter] = world.store.dead("q", 0, 9)
    world._ids.add(letter.record.id)
    assert letter.record.id == f"{name[: 127 - len(str(claim.token))]}~{claim.token}"
    assert (letter.record.body, letter.reason) == (claim.body, "why")
    assert record(world, name).body == NEXT
    assert ended(world, claim, "dead") == "repeated"
    assert [one.body for one in world.drain()] == [NEXT]
    assert world.store.revive([letter.record.id]) == 1
    assert [one.body for one in world.drain()] == [claim.body]


@pytest.mark.parametrize("delay_us", [0, HOUR_US])
def test_also_when_it_kills_its_worker(world: World, delay_us: int) -> None:
    claim = begun(world)
    world.store.again(next_call(delay_us=delay_us), claim.token)
    assert [lost.how for lost in world.store.give_back(Loss("w1", "worker_lost", 1))] == ["dead"]
    [letter] = world.store.dead("q", 0, 9)
    assert letter.record.id == apart(world, claim)
    assert record(world).body == NEXT
    step = world.take("w2")  # from its ready list: if it is not due, whoever takes it puts it into the index
    assert (step.started is None) is bool(delay_us)
    if step.started is not None:
        world.settle("w2", Outcome(step.started, "ack"))
    else:
        assert world.states()["scheduled"] == 1
        assert world.store.cancel("a")


def test_the_last_call_counts(world: World) -> None:
    claim = begun(world)
    for number in range(3):
        assert world.store.again(next_call(body=b'["next",[%d]]' % number), claim.token)
    kept_now = world.store.kept_again("a")
    assert kept_now is not None
    assert kept_now.body == b'["next",[2]]'
    ended(world, claim, "ack")
    assert [one.body for one in world.drain()] == [b'["next",[2]]']


def test_what_is_held_counts_as_running(world: World) -> None:
    world.ready("a", "b")
    step = world.take("w1", want=2)
    [held] = step.held
    assert world.store.again(next_call(held.id), held.token)
    assert world.settle("w1", Outcome(held, "ack")) == "done"
    assert record(world, held.id).body == NEXT


def test_it_can_be_taken_back(world: World) -> None:
    claim = begun(world)
    assert not world.store.forget_again("a", claim.token)
    world.store.again(next_call(), claim.token)
    assert not world.store.forget_again("a", claim.token + 1)
    assert world.store.forget_again("a", claim.token)
    assert not world.store.forget_again("a", claim.token)
    ended(world, claim, "ack")
    assert world.store.record("a") is None


def test_only_the_run_itself_may_ask(world: World) -> None:
    assert world.store.again(next_call(), 5) is None
    claim = begun(world)
    assert world.store.again(next_call(), claim.token - 1) is None
    ended(world, claim, "retry")
    assert world.store.again(next_call(), claim.token) is None
    world.dispatch_all()
    retried = world.started()
    assert world.store.again(next_call(), claim.token) is None
    assert kept(world) == 0
    ended(world, retried, "ack")
    assert world.store.record("a") is None


@pytest.mark.parametrize("how", ["lease_expired", "worker_lost", "unstarted", "reaped"])
def test_a_run_that_is_lost_leaves_it_for_the_next(world: World, how: str) -> None:
    world.ready("a")
    claim = world.started(lease_us=1 if how == "reaped" else LEASE_US)
    world.store.again(next_call(), claim.token)
    if how == "reaped":
        assert [lost.id for lost in world.store.reap(9, 1, 9).lost] == ["a"]
    else:
        if how == "lease_expired":
            world.redis.zadd(world.keys.plain("workers"), {"w1": 1})
        world.store.give_back(Loss("w1", how, 9))  # type: ignore[arg-type]
    once_more = world.started("w2")
    assert once_more.body == claim.body
    assert world.settle("w2", Outcome(once_more, "ack")) == "done"
    assert [one.body for one in world.drain()] == [NEXT]


def test_cancel_while_it_runs_and_while_it_waits_for_a_retry(world: World) -> None:
    claim = begun(world)
    world.store.again(next_call(), claim.token)
    assert not world.store.cancel("a")
    assert world.store.reschedule("a", 0) is None
    assert kept(world) == 1
    ended(world, claim, "retry")
    assert world.store.cancel("a")  # so it runs no more: neither the retry nor what was to come after it
    assert kept(world) == 0
    assert world.drain() == []


@pytest.mark.leaves_keys
def test_purge_forgets_it(world: World) -> None:
    claim = begun(world)
    world.store.again(next_call(), claim.token)
    purge(world.main)
    assert kept(world) == 0


def test_the_auditor_finds_one_whose_task_is_gone(world: World) -> None:
    claim = begun(world)
    world.store.again(next_call(), claim.token)
    assert not world.store.mend_again("a")  # it runs still
    raw = world.redis.hget(world.keys.plain("again"), "a")
    ended(world, claim, "ack")
    world.drain()
    world.redis.hset(world.keys.plain("again"), "a", raw)
    world.redis.hset(world.keys.plain("again"), "junk", b"x")
    assert world.store.mend_again("a")
    assert not world.store.mend_again("a")
    assert not world.store.mend_again("junk")
    assert kept(world) == 0
    assert [one.body for one in world.drain()] == [NEXT]
    world.redis.hset(world.keys.plain("again"), "a", raw)
    assert Audits(world).run() == {"scheduled": 1}
    assert [one.body for one in world.drain()] == [NEXT]


# -- killed just before and just after each command


def _settled(kind: Kind, *, held: bool = False) -> Callable[[World, Namespace, Record], object]:
    def act(world: World, actor: Namespace, claim: Record) -> object:
        outcome = Outcome(claim, kind, delay_us=1000, reason="why")
        return actor.store.advance(Step("w1", ["q"], LEASE_US, want=0, outcome=outcome))

    return act


OPERATIONS: dict[str, Callable[[World, Namespace, Record], object]] = {
    "ask for it": lambda world, actor, claim: actor.store.again(next_call(), claim.token),
    "ask for another": lambda world, actor, claim: actor.store.again(next_call(body=b'["next",[3]]'), claim.token),
    "take it back": lambda world, actor, claim: actor.store.forget_again("a", claim.token),
    "ack": _settled("ack"),
    "retry": _settled("retry"),
    "snooze": _settled("snooze"),
    "dead": _settled("dead"),
    "lose": lambda world, actor, claim: actor.store.give_back(Loss("w1", "worker_lost", 9)),
    "lose and bury": lambda world, actor, claim: actor.store.give_back(Loss("w1", "worker_lost", 1)),
}


@pytest.mark.crash_points
@pytest.mark.leaves_keys  # checked at each point instead
@pytest.mark.parametrize("name", OPERATIONS)
def test_crash_points(
    redis_url: str, strategy_name: str, name: str, load: Load, record_property: Callable[[str, object], None]
) -> None:
    numbers = itertools.count()

    def at(fate: Fate) -> None:
        world = World(redis_url, f"again{next(numbers)}", strategy_name)
        try:
            claim = begun(world)
            if name != "ask for it":
                assert world.store.again(next_call(), claim.token)
            actor = mortal(world.actor(), fate)
            try:
                OPERATIONS[name](world, actor, claim)
            except Killed:
                actor.close()
            _take_over(world, name, claim)
        finally:
            world.close()

    if keeps_scripted(redis_url, strategy_name):
        at(Fate())  # the server may see these scripts for the first time, which costs commands more
    whole = Fate()
    at(whole)
    points = load.deaths(whole.sent)
    for k, when in points:
        at(Fate(k, when))
    record_property("crash points", len(points))


def _take_over(world: World, name: str, claim: Record) -> None:
    world.store.give_back(Loss("w1", "worker_lost", 9))
    may_have_none = name in ("ask for it", "take it back")
    now_kept = world.store.kept_again("a")
    buried = {letter.record.id: letter.record.body for letter in world.store.dead("q", 0, 9)}
    assert buried in ({}, {f"a~{claim.token}": claim.body})
    assert world.store.discard(list(buried)) == len(buried)
    world.settle("w1", Outcome(claim, "ack"))  # the dead one, were it to wake
    bodies: list[bytes] = []
    for _ in range(5):
        found = world.store.record("a")
        if found is not None and found.due_us > world.now_us():
            world.store.reschedule("a", 0)
        bodies += [one.body for one in world.drain()]
    assert bodies.count(claim.body) <= 1
    follow = [body for body in bodies if body != claim.body]
    assert len(follow) <= 1, "more than once"
    assert follow or may_have_none, "lost"
    if now_kept is not None:
        assert follow == [now_kept.body]
    assert kept(world) == 0
    assert world.leftovers() == []
