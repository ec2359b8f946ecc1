"""A task may say until when it may start, and carry headers: its record has both, through everything that happens."""

from __future__ import annotations

from typing import Any

import pytest
from support.moving import meta_of
from support.world import World

from dueq.core.errors import NamespaceTooNew, NamespaceTooOld
from dueq.core.schema.format import NEWEST
from dueq.core.schema.record import Record
from dueq.core.schema.tail import tail
from dueq.core.store.values import Loss, NewTask, Outcome

US = 1_000_000
HOUR_US = 3600 * US
BODY = b'["f",[]]'


@pytest.fixture(autouse=True)
def newest(world: World) -> None:
    """Also on servers where other tests have namespaces of an older dueq: there these records are beside older ones."""
    world.redis.hset(world.keys.plain("meta"), "format", NEWEST)


def put(world: World, task_id: str, extra: bytes, *, due: int = 0, relative: bool = True) -> Record:
    world.note(task_id)
    [result] = world.store.schedule([NewTask(task_id, "q", due, BODY, relative, extra)])
    assert result.existing == ""
    found = world.store.record(task_id)
    assert found is not None
    return found


def features_of(world: World) -> str:
    return meta_of(world)["features"]


@pytest.mark.parametrize("relative", [True, False])
def test_a_delay_counts_from_the_due_time(world: World, relative: bool) -> None:
    due = HOUR_US if relative else world.now_us() + HOUR_US
    record = put(world, "a", tail("+5000000", ""), due=due, relative=relative)
    assert record.expires_us == record.due_us + 5 * US
    assert record.body == BODY
    assert world.store.cancel("a")


def test_both_stay_through_everything(world: World) -> None:
    headers = {"trace": "a|b;c=d%", "x=1;": "ä\u20ac"}
    text = '{"trace":"a|b;c=d%","x=1;":"\\u00e4\\u20ac"}'
    until = world.now_us() + HOUR_US
    first = put(world, "a", tail(str(until), text))
    assert (first.expires_us, first.headers) == (until, headers)

    def same(record: Record | None) -> Record:
        assert record is not None
        assert (record.expires_us, record.headers, record.body) == (until, headers, BODY)
        return record

    world.dispatch_all()
    claim = same(world.started())
    same(world.store.record("a"))
    world.store.give_back(Loss("w1", "worker_lost", 9))
    claim = same(world.started())
    world.settle("w1", Outcome(claim, "retry"))
    world.store.reschedule("a", 0, relative=True)
    world.dispatch_all()
    claim = same(world.started())
    world.settle("w1", Outcome(claim, "dead", reason="why"))
    world.store.revive(["a"])
    same(world.store.record("a"))
    assert [same(one).id for one in world.drain()] == ["a"]


def test_meta_names_what_is_in_use(world: World) -> None:
    put(world, "a", b"")
    assert features_of(world) == ""
    put(world, "b", tail("", "{}"))
    assert features_of(world) == "headers"
    world.main.claim()
    put(world, "c", tail("+1", ""))
    assert features_of(world) == "expires,headers"
    put(world, "d", tail("+1", "{}"))
    assert features_of(world) == "expires,headers"
    world.main.claim()
    assert features_of(world) == "expires,headers"
    world.redis.hset(world.keys.plain("meta"), "features", "expires,flows,headers")
    with pytest.raises(NamespaceTooNew, match="uses flows"):
        put(world, "e", b"")
    world.redis.hset(world.keys.plain("meta"), "features", "expires,headers")
    world.drain()


def test_the_first_task_of_a_namespace_may_have_one(world: World) -> None:
    world.redis.delete(world.keys.plain("meta"))
    put(world, "a", tail("+1", ""))
    assert features_of(world) == "expires"
    world.drain()


def test_many_at_once_have_their_own(world: World) -> None:
    ids = [f"t{number}" for number in range(150)]
    world.note(*ids)
    tasks = [
        NewTask(name, "q", HOUR_US, BODY, True, tail(f"+{number}", "") if number % 3 == 0 else b"")
        for number, name in enumerate(ids)
    ]
    world.store.schedule(tasks)
    for number, name in enumerate(ids):
        found = world.store.record(name)
        assert found is not None
        assert found.expires_us == (found.due_us + number if number % 3 == 0 else 0)
        assert world.store.cancel(name)


def test_an_older_format_has_no_room_and_nothing_is_written(world: World) -> None:
    meta: Any = world.keys.plain("meta")
    world.redis.hset(meta, "format", "1")
    tasks = [NewTask("a", "q", 0, BODY, True), NewTask("b", "q", 0, BODY, True, tail("+1", ""))]
    with pytest.raises(NamespaceTooOld, match="dueq migrate --format 2"):
        world.store.schedule(tasks)
    assert world.store.record("a") is None
    world.ready("c")
    claim = world.started()
    with pytest.raises(NamespaceTooOld, match="dueq migrate --format 2"):
        world.store.again(NewTask("c", "q", 0, BODY, True, tail("+1", "")), claim.token)
    assert world.settle("w1", Outcome(claim, "ack")) == "done"
    assert world.store.record("c") is None


def test_the_next_run_has_its_own(world: World) -> None:
    put(world, "a", tail(str(world.now_us() + HOUR_US), '{"run":"1"}'))
    world.dispatch_all()
    claim = world.started()
    assert world.store.again(NewTask("a", "q", US, BODY, True, tail("+7", '{"run":"2"}')), claim.token)
    assert world.settle("w1", Outcome(claim, "ack")) == "done"
    following = world.store.record("a")
    assert following is not None
    assert following.headers == {"run": "2"}
    assert following.expires_us == following.due_us + 7
    world.store.cancel("a")


def test_a_misfire_is_settled_like_an_ack(world: World) -> None:
    put(world, "a", tail("1", ""))
    world.dispatch_all()
    claim = world.started()
    assert world.settle("w1", Outcome(claim, "misfire")) == "done"
    assert world.settle("w1", Outcome(claim, "misfire")) == "missing"
    assert world.store.record("a") is None
