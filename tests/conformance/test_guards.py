"""Guards that seldom matter: each test causes what a guard prevents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from redis.exceptions import ConnectionError
from support.mortal import Fate, Killed, When, interrupted, mortal
from support.world import LEASE_US, TRANSACTIONAL, World

from dueq.core.client.transactions import Transactions
from dueq.core.clock import US
from dueq.core.namespace import Namespace
from dueq.core.store.strategy import TransactionalStrategy
from dueq.core.store.transactional.edit import Edit
from dueq.core.store.transactional.settle import ack_when_full
from dueq.core.store.values import Loss, Outcome


def points() -> Iterator[tuple[int, When]]:
    """Every command, and whether an actor dies before or after it."""
    for k in itertools.count(1):
        yield k, "before"
        yield k, "after"


def test_leases_are_left_alone_when_the_clock_has_jumped(world: World) -> None:
    world.ready("a")
    claim = world.started(lease_us=1)
    jumped = world.store.reap(100, LEASE_US, 9, latest_us=world.now_us() - US)
    assert (jumped.lost, jumped.silent_workers, jumped.next_us) == ([], [], None)
    assert world.store.record("a") == claim
    assert [one.id for one in world.store.reap(100, LEASE_US, 9, latest_us=world.now_us() + 60 * US).lost] == ["a"]


@pytest.mark.parametrize("strategy_name", ["tmpset"])
def test_a_dispatcher_that_was_cut_off_makes_ready_what_it_had_popped(world: World) -> None:
    for k in itertools.count(1):
        world.schedule("a", "b", "c")
        world.round_up()
        actor = _cut_off(world.actor(), at=k)
        try:
            actor.strategy.dispatch(100)
        except ConnectionError:
            actor.strategy.dispatch(100)
            assert world.states() == {"scheduled": 0, "ready": 3, "leased": 0, "dead": 0}, k
            world.drain()
            continue
        assert k > 3
        return


def _cut_off(namespace: Namespace, at: int) -> Namespace:
    """It, whose connection is lost once: instead of its ``at``-th command."""
    turns = itertools.count(1)

    def turn() -> None:
        if next(turns) == at:
            raise ConnectionError("lost")

    return interrupted(namespace, turn)


@pytest.mark.parametrize("strategy_name", ["buckets"])
def test_a_dispatcher_that_met_an_empty_bucket_looks_once_more(world: World) -> None:
    """It may have hidden an earlier task from its producer, who then woke nobody."""
    world.schedule("later", delay_us=90 * US)
    second_of_one_gone = world.now_us() // US + 60
    world.redis.zadd(world.keys.of("seconds", "q"), {str(second_of_one_gone): second_of_one_gone})
    first = world.strategy.dispatch(100)
    assert first.next_in == 0
    second = world.strategy.dispatch(100)
    assert second.next_in is not None
    assert 60 < second.next_in < 95


@pytest.mark.transactional
@pytest.mark.parametrize("strategy_name", TRANSACTIONAL)
def test_an_owner_that_extends_its_lease_while_it_is_taken_back_keeps_it_or_is_told(world: World) -> None:
    owner = world.actor().store
    for k in itertools.count(1):
        world.ready("a")
        claim = world.started("w1", lease_us=1)
        kept: list[bool] = []
        turns = itertools.count(1)

        def turn() -> None:
            if next(turns) == k:  # noqa: B023
                kept.extend(owner.extend("w1", [claim], LEASE_US))  # noqa: B023

        reaped = interrupted(world.actor(), turn).store.reap(100, LEASE_US, 9)
        assert len(reaped.lost) + sum(kept) == 1, f"extended before command {k}"
        world.store.give_back(Loss("w1", "worker_lost", 9))
        world.drain()
        if not kept:
            assert k > 5
            return


def test_the_reaper_comes_back_for_a_worker_that_has_begun_nothing_it_holds(world: World) -> None:
    """No lease tells of it, only its life, be there a lease that ends later."""
    world.ready("a", "b", "c")
    first = world.take("w1", want=2).started
    assert first is not None
    last = world.take("w1", want=0, outcome=Outcome(first, "ack"))
    assert last.holding == 1
    assert world.started("w2", lease_us=2 * LEASE_US).id == "c"
    next_us = world.store.reap(100, LEASE_US, 9).next_us
    assert next_us is not None
    assert abs(next_us - last.now_us - LEASE_US) < US


@pytest.mark.transactional
@pytest.mark.parametrize("strategy_name", TRANSACTIONAL)
def test_many_tasks_are_scheduled_although_a_hash_of_theirs_changes_all_the_time(world: World) -> None:
    """What the others need is not held up by one of them, and each is answered for in its turn."""
    ids, busy = [f"t{number}" for number in range(5)], world.keys.record("t1")
    world.schedule("t3", delay_us=US)

    def meanwhile() -> None:
        if world.store.record("t0") is None:
            world.redis.hincrby(busy, "another", 1)

    results = world.schedule(*ids, delay_us=US, store=interrupted(world.actor(), meanwhile).store)
    world.redis.hdel(busy, "another")
    assert [result.existing for result in results] == ["", "", "", "scheduled", ""]
    assert world.states()["scheduled"] == len(ids)


@pytest.mark.transactional
@pytest.mark.parametrize("strategy_name", TRANSACTIONAL)
def test_a_worker_holds_nothing_before_the_reaper_looks_after_it(world: World) -> None:
    for k, when in points():
        world.ready("a")
        fate, worker = Fate(k, when), f"w{k}{when}"
        with suppress(Killed):
            world.take(worker, store=mortal(world.actor(), fate).store)
        held: Any = world.redis.llen(world.keys.of("held", worker))
        assert not held or world.redis.zscore(world.keys.plain("workers"), worker) is not None, (k, when)
        world.store.give_back(Loss(worker, "worker_lost", 9))
        assert len(world.drain()) == 1
        if not fate.dead:
            assert k > 5
            return


@pytest.mark.transactional
@pytest.mark.parametrize("strategy_name", TRANSACTIONAL)
def test_an_ack_at_maxmemory_that_is_cut_short_leaves_the_task_done_or_to_be_found(world: World) -> None:
    index = world.main.strategy
    assert isinstance(index, TransactionalStrategy)
    for k, when in points():
        world.ready("a")
        claim = world.started("w1")
        fate = Fate(k, when)
        with suppress(Killed):
            transactions = Transactions(mortal(world.actor(), fate).client)
            ack_when_full(transactions, Edit(world.keys, index), "w1", claim, world.now_us())
        done = world.store.record("a") is None
        given_back = world.store.give_back(Loss("w1", "worker_lost", 9))
        assert [one.id for one in given_back] == ([] if done else ["a"]), (k, when)
        assert len(world.drain()) == (not done)
        world.store.reap(100, LEASE_US, 9)
        world.redis.zrem(world.keys.plain("leased"), world.keys.lease("q", "a"))
        if not fate.dead:
            assert done
            assert k > 3
            return
