"""No token is given twice, whatever Redis has lost; and a lost claim settles nothing."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Literal

import pytest
from support.copies import copied, put_back
from support.hired import WORKER, Hired
from support.servers import Server
from support.waiting import wait_until
from support.world import LEASE_US, World

from dueq.core.clock import US, now_us
from dueq.core.schema.journal import Journal, events_of
from dueq.core.schema.record import Record
from dueq.core.store.tokens import END
from dueq.core.store.values import Outcome

HOUR_US = 3600 * US


def claims(world: World, worker: str = "w1", want: int = 3) -> list[Record]:
    """Take and finish up to ``want`` tasks that are ready; returns the claims."""
    step = world.take(worker, want=want)
    taken = [claim for claim in (step.started, *step.held) if claim is not None]
    for claim in taken:
        assert world.settle(worker, Outcome(claim, "ack")) == "done"
    return taken


def test_tokens_go_by_the_clock(world: World) -> None:
    world.ready("a", "b", "c")
    before = world.now_us()
    tokens = [claim.token for claim in claims(world)]
    assert before <= tokens[0] <= world.now_us()
    assert tokens == [tokens[0], tokens[0] + 1, tokens[0] + 2]
    assert int(world.redis.get(world.keys.plain("token"))) == tokens[-1]  # type: ignore[arg-type]


@pytest.mark.parametrize("left", [None, "5", "-7", "nonsense", str(END - 1), "9" * 40])
def test_whatever_became_of_the_last_token_the_next_is_higher(world: World, left: str | None) -> None:
    given: list[int] = []
    for number in range(3):
        world.ready(f"a{number}", f"b{number}")
        given += [claim.token for claim in claims(world)]
        if left is None:
            world.redis.delete(world.keys.plain("token"))
        else:
            world.redis.set(world.keys.plain("token"), left)
    assert given == sorted(set(given))
    assert 0 < given[-1] < now_us() + HOUR_US, "what cannot be a token is not counted on from"


def test_tokens_rise_although_every_key_is_as_it_was(world: World) -> None:
    world.ready("a", "b")
    before = copied(world)
    first, second = world.started("w1"), world.started("w1")
    put_back(world, before)  # both claims are lost
    other = world.actor().store  # another process: it has seen no token
    step = world.take("w2", want=2, store=other)
    again = [claim for claim in (step.started, *step.held) if claim is not None]
    assert {claim.id for claim in again} == {"a", "b"}
    assert min(claim.token for claim in again) > max(first.token, second.token)
    for claim in (first, second):
        assert world.settle("w1", Outcome(claim, "ack")) == "stale"
        assert world.store.extend("w1", [claim], LEASE_US) == [False]
    assert [world.settle("w2", Outcome(claim, "ack")) for claim in again] == ["done", "done"]


def test_tokens_rise_above_what_the_caller_has_seen_although_the_clock_is_behind(world: World) -> None:
    """The old primary's clock was an hour ahead of the new one's."""
    token = world.keys.plain("token")
    world.redis.set(token, now_us() + HOUR_US)
    world.ready("a", "b", "c")
    [first] = claims(world, want=1)
    world.redis.set(token, now_us() - HOUR_US)
    step = world.take("w1")
    assert step.started is not None
    assert step.started.token > first.token
    assert step.forgot, "Redis knows of no token as high as one that it gave: it has lost data"
    step = world.take("w1", outcome=Outcome(step.started, "ack"))
    assert not step.forgot
    assert step.started is not None
    assert world.settle("w1", Outcome(step.started, "ack")) == "done"


def test_two_owners_under_one_token_are_still_two(world: World) -> None:
    """The worst that can be: clocks that differ by more than the outage, and a caller that has seen nothing."""
    world.redis.set(world.keys.plain("token"), now_us() + HOUR_US)
    world.ready("a")
    before = copied(world)
    old = world.started("w1")
    put_back(world, before)
    new = world.take("w2", store=world.actor().store).started
    assert new is not None
    assert (new.id, new.token) == (old.id, old.token)
    kinds: tuple[Literal["ack", "retry", "snooze", "dead"], ...] = ("ack", "retry", "snooze", "dead")
    for kind in kinds:
        assert world.settle("w1", Outcome(old, kind)) == "stale"
    assert world.store.extend("w1", [old], LEASE_US) == [False]
    assert world.store.record("a") == new
    assert world.settle("w2", Outcome(new, "ack")) == "done"


def test_an_end_that_redis_has_lost_is_counted_when_the_task_runs_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.ready("a", "b")
    worker = Hired(world.actor(), prefetch=1)
    assert worker.turn() is not None
    before = copied(world)
    assert worker.turn() is not None  # the first is settled, the second begins
    put_back(world, before)  # the first is claimed still, and the second nobody's
    worker.telemetry.journal = Journal(world.redis, world.keys, WORKER)
    with caplog.at_level(logging.WARNING):
        worker.turns()
    worker.leave()
    worker.telemetry.journal.flush()
    assert {task_id: len(starts) for task_id, starts in worker.starts.items()} == {"a": 2, "b": 2}
    assert worker.starts["a"][1].cause == "lease_expired"
    tokens = [claim.token for starts in worker.starts.values() for claim in starts]
    assert len(set(tokens)) == len(tokens)
    said = [record for record in caplog.records if "Redis has lost data" in record.getMessage()]
    assert len(said) == 1, "once an event"
    [lost] = [event for event in events_of(world.redis, world.keys, "a") if event.kind == "lost"]
    assert lost.facts == {"cause": "lease_expired", "worker": WORKER}


@pytest.mark.leaves_keys
def test_many_workers_and_a_token_key_that_is_lost_again_and_again(world: World, server: Server) -> None:
    """Claims at the same time, while the last token is deleted or lowered: no token is given twice."""
    if world.scripted and server.version < (5,):
        pytest.skip("scripts are told the time that was asked before: the key is lost more often than that takes")
    world.schedule(*[f"t{number}" for number in range(120)])
    world.round_up()
    given: list[int] = []
    done = threading.Event()

    def work(worker: str) -> None:
        store = world.actor().store
        outcome: Outcome | None = None
        while not done.is_set():
            step = world.take(worker, want=1, outcome=outcome, store=store)
            outcome = None
            if step.started is not None:
                given.append(step.started.token)
                outcome = Outcome(step.started, "ack")

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(30):
            world.strategy.dispatch(4)
            key = world.keys.plain("token")
            world.redis.set(key, number) if number % 2 else world.redis.delete(key)
        wait_until(lambda: len(given) >= 120)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert [token for token, times in Counter(given).items() if times > 1] == []
