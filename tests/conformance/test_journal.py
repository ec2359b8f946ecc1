"""The journal of tasks: producers write it with their steps, roles after their work, within bounds."""

from __future__ import annotations

import threading
import time

import pytest
from redis.exceptions import ConnectionError
from support.world import World

from dueq.admin.housekeeping import purge
from dueq.core.clock import US
from dueq.core.schema.bounds import MOST_NOTES
from dueq.core.schema.journal import Event, Journal, events_of
from dueq.core.store.values import Loss
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import DispatcherTelemetry, Telemetry

NOTES = 800


def kinds(world: World, task_id: str) -> list[str]:
    return [event.kind for event in events_of(world.redis, world.keys, task_id)]


def test_producers_steps_are_noted_with_the_step(world: World) -> None:
    world.schedule("a", "b", delay_us=3600 * US)
    world.schedule("a")
    world.store.reschedule("a", 7200 * US, relative=True)
    assert world.store.cancel("a")
    assert not world.store.cancel("a")
    assert kinds(world, "a") == ["scheduled"] * (world.format == "1") + ["rescheduled", "cancelled"]
    moved, _ = events_of(world.redis, world.keys, "a")[-2:]
    assert moved.facts["due_us"] == moved.at_us + 7200 * US
    assert (moved.who, moved.token) == ("producer", 0)


def test_format_1_has_it_only_there_when_a_task_was_scheduled(world: World) -> None:
    world.redis.hset(world.keys.plain("meta"), "format", "1")
    world.schedule("a", delay_us=3600 * US)
    [event] = events_of(world.redis, world.keys, "a")
    assert (event.kind, event.who, event.token) == ("scheduled", "producer", 0)
    assert event.facts == {"due_us": event.at_us + 3600 * US}


def test_the_journal_is_bounded(world: World) -> None:
    ids = [f"t{number}" for number in range(20_000)]
    journal = Journal(world.redis, world.keys, "w")
    for number, task_id in enumerate(ids):
        journal.note(number, "done", task_id)
        if number % 1500 == 0:
            journal.flush()
    journal.flush()
    lengths = [world.redis.llen(key) for key in world.keys.journals()]
    assert max(lengths) <= MOST_NOTES
    assert kinds(world, ids[-1]) == ["done"]
    assert kinds(world, ids[0]) == []


def test_a_long_write_lets_the_main_thread_have_its_turns(world: World) -> None:
    """Without breaks it would wait up to 5 ms for the interpreter, each time."""
    journal = Journal(world.redis, world.keys, "w")
    for number in range(NOTES):
        journal.note(number, "done", f"t{number}")
    writing = threading.Thread(target=journal.flush)
    writing.start()
    turns = 0
    while writing.is_alive():
        time.sleep(0)
        turns += 1
    assert turns >= NOTES / 16
    assert all(kinds(world, f"t{number}") == ["done"] for number in range(NOTES))


def test_notes_wait_for_redis(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = world.actor()
    journal = Journal(actor.client, world.keys, "w")
    journal.note(1, "done", "a", 5, reason="x")
    with monkeypatch.context() as broken:
        broken.setattr(actor.client.connection_pool, "get_connection", _refuse)
        journal.flush()
        journal.note(2, "done", "b")
    assert kinds(world, "a") == []
    journal.flush()
    assert events_of(world.redis, world.keys, "a") == [Event(1, "done", "a", 5, "w", {"reason": "x"})]
    assert kinds(world, "b") == ["done"]


def _refuse(*args: object, **kwargs: object) -> None:
    raise ConnectionError("away")


def test_what_was_dispatched_and_lost_is_noted(world: World) -> None:
    journal = Journal(world.redis, world.keys, "me")
    world.schedule("a")
    world.round_up()
    done = world.strategy.dispatch(10)
    DispatcherTelemetry(Counters(), "dispatcher", "s", journal).moved(done.moved, done.now_us)
    claim = world.started()
    lost = world.store.give_back(Loss("w1", "worker_lost", 3))
    Telemetry(Counters(), "supervisor", "s", journal).lost(lost, world.now_us(), "worker_lost", "died", "w1")
    journal.flush()
    ready, lost_then = events_of(world.redis, world.keys, "a")[-2:]
    assert (ready.kind, lost_then.kind) == ("ready", "lost")
    assert ready.facts["late_us"] >= 0
    assert ready.at_us == claim.due_us + ready.facts["late_us"]
    assert lost_then.facts == {"cause": "worker_lost", "worker": "w1", "how": "died"}
    assert claim.id == "a"


def test_a_purge_forgets_the_journal(world: World) -> None:
    world.schedule("a", delay_us=3600 * US)
    world.store.reschedule("a", 7200 * US, relative=True)
    assert kinds(world, "a")[-1] == "rescheduled"
    purge(world.main)
    assert not [key for key in world.found() if b"journal" in key]
