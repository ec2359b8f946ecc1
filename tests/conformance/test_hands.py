"""A worker's hands: what it holds begins without waiting for Redis, and whatever is lost on the way, nothing is run
twice in silence, and nothing is forgotten."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis.exceptions import ConnectionError
from support.severed import Cut, How, severed
from support.world import SCRIPTED, World

from dueq.core.clock import ServerClock
from dueq.core.codec import Record
from dueq.core.connection import TRANSIENT, connect, server_version
from dueq.core.hands import Hands
from dueq.core.namespace import Namespace
from dueq.core.prefetch import Prefetch
from dueq.core.store.base import Outcome
from dueq.core.tally import Tally
from dueq.core.telemetry import WorkerTelemetry

WORKER = "w1"
TASKS = 10


class Hired:
    """A worker without its loop: each ``turn`` settles the last task and begins the next."""

    def __init__(self, namespace: Namespace, *, prefetch: int = 5, lease: float = 60.0) -> None:
        self.tally = Tally(1 << 14)
        self.telemetry = WorkerTelemetry(self.tally, "worker", namespace.strategy.name)
        self.hands = Hands(
            namespace.store, WORKER, ["q"], self.telemetry, ServerClock(), Prefetch(prefetch), lease=lease, max_losses=9
        )
        self.starts: dict[str, list[Record]] = defaultdict(list)
        self._outcome: Outcome | None = None

    def turn(self) -> Record | None:
        outcome, self._outcome = self._outcome, None
        claim, leased_us = self.hands.step(["q"], outcome, None)
        if claim is not None:
            assert claim.due_us <= leased_us
            self.telemetry.runs(claim, None)
            self.starts[claim.id].append(claim)
            self.telemetry.ended(claim, "f", 0.0)
            self._outcome = Outcome(claim, "ack")
        return claim

    def turns(self, patience: int = 5) -> None:
        """Until there is nothing to do."""
        while True:
            try:
                if self.turn() is None:
                    return
            except TRANSIENT:
                patience -= 1
                assert patience, "it is in trouble for ever"

    def leave(self) -> None:
        outcome, self._outcome = self._outcome, None
        self.hands.leave(outcome)

    def counted(self, name: str, **labels: str) -> float:
        return sum(
            series.values[0]
            for series in self.tally.series()
            if series.definition.name == name
            and labels.items() <= dict(zip(series.definition.labels, series.labels, strict=True)).items()
        )

    @property
    def duplicates(self) -> float:
        return self.counted("dueq_duplicates_total")

    @property
    def done(self) -> float:
        return self.counted("dueq_tasks_finished_total", outcome="done")


@pytest.fixture
def hired(world: World) -> Iterator[Hired]:
    world.ready(*[f"t{number}" for number in range(TASKS)])
    worker = Hired(world.actor())
    yield worker
    worker.leave()


def test_everything_runs_once_in_order_and_is_settled(world: World, hired: Hired) -> None:
    hired.turns()
    assert list(hired.starts) == [f"t{number}" for number in range(TASKS)]
    assert all(len(claims) == 1 and claims[0].starts == 1 for claims in hired.starts.values())
    assert (hired.done, hired.duplicates) == (TASKS, 0)
    assert world.states() == {"scheduled": 0, "ready": 0, "leased": 0, "dead": 0}


@pytest.fixture
def at_once(redis_url: str) -> None:
    """Skips where a step is not sent at once, but after a question for the time."""
    client = connect(redis_url)
    version = server_version(client)
    client.close()
    if version is not None and version < (5,):
        pytest.skip("before Redis 5 each step waits for Redis to tell the time")


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
        assert (record.state, record.starts, record.token) == ("L", 1, claim.token)


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_connection_that_is_lost_loses_and_repeats_nothing(redis_url: str, strategy_name: str, how: How) -> None:
    """At each command that a worker sends, until its work is done."""
    at, whole, count = 0, 0, 24  # more than may wait for their answers
    while True:
        world = World(redis_url, f"hands{at}", strategy_name)
        try:
            world.ready(*[f"t{number}" for number in range(count)])
            cut = Cut(at, how)
            worker = Hired(severed(world.actor(), cut))
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


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_what_a_dead_worker_could_not_tell_is_known_from_its_tally(redis_url: str, strategy_name: str) -> None:
    """From its k-th command on nothing gets to Redis; it dies some tasks later. Its tally outlives it."""
    for at in range(1, TASKS + 2):
        for more in range(5):
            world = World(redis_url, f"dead{at}.{more}", strategy_name)
            try:
                world.ready(*[f"t{number}" for number in range(TASKS)])
                cut = Cut()
                worker = Hired(severed(world.actor(), cut))
                worker.turn()
                cut.at, cut.how = cut.sent + at, "unnoticed"
                while cut.sent < cut.at + more and len(worker.starts) < TASKS:
                    if not worker.hands._held and cut.sent >= cut.at - 1:
                        break  # it would wait for an answer that never comes
                    worker.turn()
                world.store.give_back(WORKER, "worker_lost", 99, begun=worker.tally.begun, running=worker.tally.token)
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
    lost = world.store.give_back(WORKER, "lease_expired", 99)  # it has been heard of since
    assert lost == []
    lost = world.store.give_back(WORKER, "unstarted", 99)  # behind its back
    assert len(lost) == 5
    hired.turns()
    assert hired.duplicates > 0
    again = {record.id for record in world.drain("w2")}
    assert all(len(claims) == 1 or claims for claims in hired.starts.values())
    assert len(hired.starts) + len(again - set(hired.starts)) == TASKS


def test_held_tasks_wait_for_an_answer_when_redis_has_not_heard_of_the_worker_lately(world: World) -> None:
    world.ready("a", "b", "c")
    worker = Hired(world.actor(), prefetch=3, lease=0.2)
    assert worker.turn() is not None
    time.sleep(0.25)
    [silent] = world.store.reap(100, 200_000, 99).silent_workers
    assert len(world.store.give_back(silent, "lease_expired", 99)) >= 2
    other = Hired(world.actor(), prefetch=1)
    assert other.hands._worker == WORKER
    other.hands._worker = "w2"
    other.turns()
    assert set(other.starts) == {"a", "b", "c"}
    worker.turns()
    assert list(worker.starts) == ["a"], "what another has is not begun"
    assert worker.duplicates == 1  # its own, refused
    worker.leave()
    other.leave()


def test_the_keeper_gives_what_waits_to_others_and_settles_what_is_in_doubt(world: World, hired: Hired) -> None:
    first = hired.turn()
    second = hired.turn()
    assert first is not None
    assert second is not None
    hired.hands.tidy(release=True)
    assert not hired.hands.loose_ends
    assert world.store.record(first.id) is None
    others = [record.id for record in world.drain("w2")]
    assert others == [f"t{number}" for number in range(2, TASKS)]
    assert hired.turn() is None
    assert (hired.done, hired.duplicates) == (2, 0)


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_the_keeper_settles_what_a_lost_connection_left_in_doubt(world: World, hired: Hired) -> None:
    first = hired.turn()
    assert first is not None
    assert hired.turn() is not None
    hired.hands._channel._wire._connection.disconnect()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        hired.hands.tidy(release=False)
    hired.hands.tidy(release=False)
    assert world.store.record(first.id) is None
    hired.turns()
    assert (hired.done, hired.duplicates) == (TASKS, 0)
    assert all(len(claims) == 1 for claims in hired.starts.values())


@pytest.mark.parametrize("strategy_name", SCRIPTED)
def test_scripts_that_are_forgotten_meanwhile_do_no_harm(world: World, hired: Hired) -> None:
    for _ in range(3):
        hired.turn()
    world.redis.script_flush()
    hired.turns()
    assert (hired.done, hired.duplicates) == (TASKS, 0)
    assert all(len(claims) == 1 for claims in hired.starts.values())


@pytest.mark.parametrize("most", [1, 2, 4])
def test_no_more_is_taken_than_may_still_be_run(world: World, hired: Hired, most: int) -> None:
    ran = 0
    outcome = None
    while ran < most:
        claim, _ = hired.hands.step(["q"], outcome, most - ran)
        assert claim is not None
        hired.starts[claim.id].append(claim)
        outcome, ran = Outcome(claim, "ack"), ran + 1
    assert not hired.hands._held
    hired.hands.leave(outcome)
    assert world.states()["ready"] == TASKS - most
