"""A task that its worker does not know is put aside, without a start; the next worker that knows it takes it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from support.audits import Audits
from support.world import World

from dueq.admin import housekeeping
from dueq.core.clock import US
from dueq.core.namespace import Namespace
from dueq.core.schema.bounds import MOST_TASKS
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.store.base import Store
from dueq.core.store.unclaimed import list_of
from dueq.core.store.values import Advance, Aside, Loss, Outcome, Step


def knowing(world: World, *names: str) -> Namespace:
    """A process whose application defines tasks of these names."""
    actor = world.actor()
    actor.store.knows(names)
    return actor


def ids(step: Advance) -> list[str]:
    return [claim.id for claim in [step.started, *step.held] if claim is not None]


def take_all(world: World, store: Store, worker: str, *queues: str) -> list[Record]:
    """Run all that this process takes, one by one."""
    ran: list[Record] = []
    outcome = None
    while True:
        step = world.take(worker, *queues, outcome=outcome, store=store)
        if step.started is None:
            return ran
        ran.append(step.started)
        outcome = Outcome(step.started, "ack")


def test_a_name_that_a_worker_does_not_know(world: World) -> None:
    old, new = knowing(world, "f"), knowing(world, "f", "g")
    world.ready("f1")
    world.ready("g1", "g2", calls="g")
    world.ready("f2")
    step = world.take("old", want=9, store=old.store)
    assert ids(step) == ["f1", "f2"]
    assert [*step.aside] == [Aside("q", "g", "g1"), Aside("q", "g", "g2")]
    assert step.dropped == []
    assert step.holding == 2
    record = world.store.record("g1")
    assert record is not None
    assert (record.state, record.starts, record.retries, record.token, record.worker) == (State.UNCLAIMED, 0, 0, 0, "")
    assert world.store.unclaimed() == {("q", "g"): 2}
    assert world.states()["ready"] == 0
    assert world.take("old", want=9, store=old.store).aside == []  # nor does it come back to who does not know it
    step = world.take("new", want=9, store=new.store)
    assert ids(step) == ["g1", "g2"]  # in the order in which they were put aside
    assert step.started is not None
    assert (step.started.starts, step.started.cause, step.started.due_us) == (1, "", record.due_us)
    assert world.store.unclaimed() == {}


def test_it_goes_before_what_is_ready_and_not_beyond_what_is_wanted(world: World) -> None:
    old, new = knowing(world, "f"), knowing(world, "f", "g")
    world.ready("g1", "g2", "g3", calls="g")
    world.take("old", store=old.store)
    world.ready("f1")
    step = world.take("new", want=2, store=new.store)
    assert ids(step) == ["g1", "g2"]
    assert world.unclaimed() == 1
    assert ids(world.take("old", want=9, store=old.store)) == ["f1"]
    assert [record.id for record in take_all(world, new.store, "new2")] == ["g3"]


def test_only_of_the_queues_that_it_serves(world: World) -> None:
    old, new = knowing(world), knowing(world, "g")
    world.ready("g1", calls="g")
    world.ready("g2", calls="g", queue="other")
    world.take("old", "q", "other", want=9, store=old.store)
    assert world.store.unclaimed() == {("q", "g"): 1, ("other", "g"): 1}
    assert ids(world.take("new", "other", want=9, store=new.store)) == ["g2"]
    assert world.store.unclaimed() == {("q", "g"): 1}


def test_who_says_nothing_knows_everything(world: World) -> None:
    world.ready("g1", calls="g")
    world.take("old", store=knowing(world, "f").store)
    assert ids(world.take("tool")) == ["g1"]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "täglich", "a|b", "a:b", "", "?newer", "x" * 300])
def test_names_of_all_kinds(world: World, name: str) -> None:
    world.ready("t1", calls=name)
    world.ready("t2", calls=name + "x")
    assert world.take("old", want=9, store=knowing(world, "f").store).held == []
    mine = knowing(world, name).store
    assert {record.id for record in take_all(world, mine, "new")} >= {"t1"}
    world.ready("t3", calls=name)
    assert [record.id for record in take_all(world, mine, "new")] == ["t3"]


def test_a_name_within_another_is_not_known(world: World) -> None:
    store = knowing(world, "mail.send", "send.mail").store
    for name in ("mail", "send", "mail.", ".send", "l.send"):
        world.ready(f"t-{name}", calls=name)
    assert ids(world.take("w", want=9, store=store)) == []
    assert world.unclaimed() == 5


def test_the_handler_is_a_name_like_any_other(world: World) -> None:
    world.ready("t", calls="dueq.handler")
    assert ids(world.take("old", store=knowing(world, "f").store)) == []
    assert ids(world.take("new", store=knowing(world, "dueq.handler").store)) == ["t"]


def test_cancel_and_reschedule_what_was_put_aside(world: World) -> None:
    old, new = knowing(world, "f").store, knowing(world, "g").store
    world.ready("a", "b", "c", calls="g")
    world.take("old", want=9, store=old)
    assert world.store.cancel("a")
    assert world.store.record("a") is None
    assert world.store.reschedule("b", 0, relative=True) is not None
    record = world.store.record("b")
    assert record is not None
    assert record.state == State.SCHEDULED
    assert world.states()["scheduled"] == 1
    assert world.unclaimed() == 1
    world.dispatch_all()
    assert sorted(record.id for record in take_all(world, new, "new")) == ["b", "c"]
    assert world.schedule("a", calls="g")[0].existing == ""


def test_its_id_is_in_use(world: World) -> None:
    world.ready("a", calls="g")
    world.take("old", store=knowing(world, "f").store)
    assert world.schedule("a")[0].existing == "scheduled"


def test_a_void_entry_is_no_task_to_put_aside(world: World) -> None:
    world.ready("a", calls="g")
    assert world.store.reschedule("a", 3600 * US, relative=True) is not None
    assert world.store.reschedule("a", 0, relative=True) is not None
    world.dispatch_all()  # two entries by now, one of them void
    old = knowing(world, "f").store
    step = world.take("old", want=9, store=old)
    assert [one.id for one in step.aside] == ["a"]
    assert world.take("old", want=9, store=old).dropped == step.dropped == []
    lazy = getattr(world.strategy, "lazy", False)  # then the entry of an hour from now is still there, void
    assert world.redis.hgetall(world.keys.plain("revoked")) == ({b"a": b"1"} if lazy else {})


def test_more_than_a_step_may_put_aside(world: World) -> None:
    world.ready(*(f"g{number}" for number in range(250)), calls="g")
    world.ready("f")
    old = knowing(world, "f").store
    found: list[str] = []
    for _ in range(2 * 250 // MOST_TASKS + 1):  # one put aside counts as two that are looked at
        step = world.take("old", store=old)
        assert len(step.aside) <= MOST_TASKS or not world.scripted
        found += ids(step)
    assert found == ["f"]
    assert world.unclaimed() == 250
    assert len(take_all(world, knowing(world, "g").store, "new")) == 250


def test_a_sleeping_worker_that_knows_it_wakes_at_once(world: World) -> None:
    old, new = knowing(world, "f").store, knowing(world, "g").store
    channel = new.channel(["q"])
    began = time.monotonic()
    # asked to sleep, then woken by the old one's step: the list of wake-ups outlives the moment
    world.ready("g1", calls="g")
    assert world.listener("q").wait(1)  # of its ready list: somebody else was woken by it
    world.take("old", store=old)
    assert channel.sleep(Step("new", ["q"], 60 * US, want=1), 20.0) == "sent"
    assert ids(channel.receive()) == ["g1"]
    assert time.monotonic() - began < 5
    channel.close()
    world.take("new", want=0)
    world.store.give_back(Loss("new", "unstarted", 9))


def test_redis_lost_the_names(world: World) -> None:
    """What it does not know any more is told again; until then nothing is taken on trust."""
    store = knowing(world, "f").store
    world.ready("g1", calls="g")
    world.redis.hdel(world.keys.plain("meta"), *_fields(world))
    steps = [world.take("w", store=store) for _ in range(2)]
    assert [ids(step) for step in steps] == [[], []]
    assert world.unclaimed() == 1
    assert _fields(world) or not world.scripted


def test_names_that_were_lost_while_a_worker_sleeps(world: World) -> None:
    """The wake-up that it received is not lost with them."""
    store = knowing(world, "f").store
    channel = store.channel(["q"])
    world.redis.hdel(world.keys.plain("meta"), *_fields(world))
    world.ready("f1")
    found: list[str] = []
    began = time.monotonic()
    for _ in range(2):
        assert channel.sleep(Step("w", ["q"], 60 * US, want=1), 20.0) == "sent"
        found += ids(channel.receive())
        if found:
            break
    assert found == ["f1"]
    assert time.monotonic() - began < 15, "woken, not found at the end of its sleep"
    channel.close()
    world.store.give_back(Loss("w", "unstarted", 9))


def _fields(world: World) -> Sequence[bytes]:
    fields: Any = world.redis.hkeys(world.keys.plain("meta"))
    return [field for field in fields if field.startswith(b"names:")]


@pytest.mark.parametrize("lost", ["list", "aside", "mark"])
def test_the_auditor_finds_what_was_put_aside(world: World, lost: str) -> None:
    world.ready("a", "b", calls="g")
    world.take("old", want=9, store=knowing(world, "f").store)
    if lost == "list":
        world.redis.delete(list_of(world.keys, "q", "g"), world.keys.plain("aside"))
    elif lost == "aside":
        world.redis.delete(world.keys.plain("aside"))
    world.redis.hdel(world.keys.plain("meta"), "aside")
    assert Audits(world).run().get("unclaimed", 0) == (0 if lost == "mark" else 2)
    assert world.store.unclaimed() == {("q", "g"): 2}
    assert sorted(ids(world.take("new", want=9, store=knowing(world, "g").store))) == ["a", "b"]


def test_the_auditor_leaves_it_alone_and_forgets_old_names(world: World) -> None:
    world.ready("a", calls="g")
    old = knowing(world, "f").store
    world.take("old", want=9, store=old)
    meta = world.keys.plain("meta")
    world.redis.hset(meta, "names:0123456789abcdef", f'{int(time.time()) - 90_000}"long.ago"')
    world.redis.hset(meta, "names:ffffffffffffffff", b"\xff rubbish")
    assert not any(Audits(world).run().values())
    fields = _fields(world)
    assert len(fields) == 1
    assert old.unclaimed() == {("q", "g"): 1}


def test_purge_forgets_them(world: World) -> None:
    world.ready("a", calls="g")
    world.take("old", want=9, store=knowing(world, "f").store)
    assert housekeeping.purge(world.main) == 1
    assert [key for key in world.found() if key != world.keys.plain("wake").encode()] == []
