"""Scheduling: what is written, when it is due, and what happens to an id that is in use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.world import World

from dueq import strategies
from dueq.core.clock import US
from dueq.core.config import Settings
from dueq.core.errors import ConfigurationError, DueqError, StrategyMismatch
from dueq.core.namespace import Namespace
from dueq.core.store.values import Loss, NewTask, Outcome

HOUR_US = 3600 * US


def test_a_task_is_recorded_as_given(world: World) -> None:
    due = world.now_us() + HOUR_US
    body = bytes(range(256)) + b"|1|S|"
    [result] = world.store.schedule([NewTask("a", "q", due, body)])
    record = world.store.record("a")
    assert result.existing == ""
    assert record is not None
    assert (record.id, record.due_us, record.queue, record.body) == ("a", due, "q", body)
    assert (record.starts, record.retries, record.losses, record.cause, record.token) == (0, 0, 0, "", 0)
    assert world.states() == {"scheduled": 1, "ready": 0, "leased": 0, "dead": 0}
    assert world.store.queues() == ["q"]
    assert world.store.cancel("a")


def test_unknown_id_has_no_record(world: World) -> None:
    assert world.store.record("nothing") is None


@pytest.mark.parametrize("count", [1, 100, 101, 2345])
def test_bulk(world: World, count: int) -> None:
    ids = [f"t{number}" for number in range(count)]
    assert {result.existing for result in world.schedule(*ids)} == {""}
    assert world.states()["scheduled"] == count
    assert world.store.producer_counts() == {("scheduled", "q"): count}
    assert sorted(record.id for record in world.drain()) == sorted(ids)
    assert world.leftovers() == []


def test_nothing_to_schedule(world: World) -> None:
    assert world.store.schedule([]) == []


def test_a_named_id_twice_says_what_there_is(world: World) -> None:
    assert [result.existing for result in world.schedule("a", "a", "b")] == ["", "scheduled", ""]
    world.dispatch_all()
    assert [result.existing for result in world.schedule("a")] == ["scheduled"]
    claim = world.started()
    assert claim.id == "a"
    assert [result.existing for result in world.schedule("a")] == ["leased"]
    assert world.settle("w1", Outcome(claim, "dead", reason="x")) == "done"
    assert [result.existing for result in world.schedule("a")] == ["dead"]
    assert world.store.producer_counts() == {("scheduled", "q"): 2}


def test_an_id_in_use_is_left_untouched(world: World) -> None:
    world.schedule("a", due_us=world.now_us() + HOUR_US)
    before = world.store.record("a")
    world.store.schedule([NewTask("a", "other", 5, b"else", True)])
    assert world.store.record("a") == before
    assert world.store.queues() == ["q"]
    assert world.dispatch_all() == []


def test_past_due_means_now(world: World) -> None:
    [result] = world.schedule("a", due_us=5)
    record = world.store.record("a")
    assert record is not None
    assert record.due_us == result.now_us
    [moved] = world.dispatch_all()
    assert (moved.queue, moved.id) == ("q", "a")
    assert 0 <= moved.seconds < 5


def test_relative_due_counts_from_redis_clock(world: World) -> None:
    before = world.now_us()
    [result] = world.schedule("a", delay_us=HOUR_US)
    after = world.now_us()
    record = world.store.record("a")
    assert record is not None
    assert before <= result.now_us <= after
    assert record.due_us == result.now_us + HOUR_US


@pytest.mark.parametrize("count", [1, 250])
def test_mismatch_is_refused_by_the_store(world: World, count: int) -> None:
    world.redis.hset(world.keys.plain("meta"), "strategy", "other")
    with pytest.raises(StrategyMismatch, match="owned by strategy 'other'") as caught:
        world.schedule(*[f"t{number}" for number in range(count)])
    assert "--strategy other" in str(caught.value)
    assert world.store.queues() == []
    assert world.store.record("t0") is None
    world.redis.hdel(world.keys.plain("meta"), "strategy")


def test_mismatch_is_refused_at_start(world: World) -> None:
    world.schedule("a")
    other = next(name for name in strategies.names() if name != world.strategy.name)
    with pytest.raises(StrategyMismatch, match="is owned by"):
        Namespace.open(replace(world.settings, strategy=other))
    with pytest.raises(ConfigurationError, match="there is no strategy 'other'"):
        Namespace.open(replace(world.settings, strategy="other"))
    producer = world.adopt(Namespace.open(replace(world.settings, strategy=None)))
    assert producer.strategy.name == world.strategy.name


def test_the_first_to_claim_a_namespace_keeps_it(world: World) -> None:
    world.main.claim()
    world.actor().claim()
    world.redis.hset(world.keys.plain("meta"), "strategy", "other")
    with pytest.raises(StrategyMismatch, match="other"):
        world.main.claim()
    world.redis.hdel(world.keys.plain("meta"), "strategy")


def test_namespaces_do_not_see_each_other(world: World, redis_url: str, strategy_name: str) -> None:
    other = World(redis_url, world.keys.namespace + "x", strategy_name)
    try:
        other.schedule("a")
        assert world.store.record("a") is None
        assert world.dispatch_all() == []
        assert Settings(namespace=world.keys.namespace + "x").namespace == other.keys.namespace
        other.finish()
    finally:
        other.close()


@pytest.mark.leaves_keys
def test_a_newer_version_s_record_is_left_alone(world: World) -> None:
    world.ready("a")
    key, newer = world.keys.record("a"), b"99|what|ever"
    world.redis.hset(key, "a", newer)
    with pytest.raises(DueqError):
        world.schedule("a")
    assert not world.store.cancel("a")
    assert world.store.reschedule("a", 0) is None
    world.ready("b")
    assert world.started().id == "b"
    assert [lost.id for lost in world.store.give_back(Loss("w1", "worker_lost", 3))] == ["b"]
    assert world.redis.hget(key, "a") == newer
