"""Formats of records. A record keeps its format, and fields that this dueq does not know, as long as it lives; new
ones are written in the format of their namespace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, Literal

import pytest
from support.moving import meta_of
from support.world import LEASE_US, World

from dueq.admin.story import story
from dueq.core.clock import US
from dueq.core.errors import ConfigurationError
from dueq.core.namespace import Namespace
from dueq.core.schema import ownership
from dueq.core.schema.format import FORMATS, NEWEST
from dueq.core.schema.journal import events_of
from dueq.core.schema.quarantine import quarantined
from dueq.core.schema.record import Record, decode_record, encode_record
from dueq.core.store.values import Loss, NewTask, Outcome, Step
from dueq.core.upkeep import engines, migration

HOUR_US = 3600 * US
TAIL = b"later=%7C;other=1;"
KINDS: tuple[Literal["retry", "snooze", "dead"], ...] = ("retry", "snooze", "dead")


@pytest.fixture(params=FORMATS)
def format_(world: World, request: pytest.FixtureRequest) -> str:
    """Each format, which the namespace has."""
    world.redis.hset(world.keys.plain("meta"), "format", request.param)
    return str(request.param)


def raw_of(world: World, task_id: str = "a") -> bytes:
    found: Any = world.redis.hget(world.keys.record(task_id), task_id)
    return bytes(found)


def put(world: World, record: Record) -> None:
    world.redis.hset(world.keys.record(record.id), record.id, encode_record(record))


def life(world: World) -> Iterator[str]:
    """Everything that may become of the task "a"; yields after each step what it was."""
    store = world.store
    store.reschedule("a", HOUR_US, relative=True)
    yield "rescheduled"
    store.reschedule("a", 0, relative=True)
    world.dispatch_all()
    yield "made ready"
    step = store.advance(Step("w1", ["q"], LEASE_US))
    claim = step.started or step.held[0]
    yield "started"
    store.extend("w1", [claim], LEASE_US)
    store.advance(Step("w1", [], LEASE_US, want=0, outcome=Outcome(claim, "retry")))
    yield "to be retried"
    world.dispatch_all()
    step = store.advance(Step("w1", ["q"], LEASE_US))
    snooze = Outcome(step.started or step.held[0], "snooze", due_us=1)
    store.advance(Step("w1", [], LEASE_US, want=0, outcome=snooze))
    yield "snoozed"
    world.dispatch_all()
    held = hold(world, "w1")
    yield "held"
    store.release("w1", [held])
    yield "released"
    held = hold(world, "w1")
    step = store.advance(Step("w1", ["q"], LEASE_US, want=0, start=held))
    assert step.started
    yield "started while held"
    store.give_back(Loss("w1", "worker_lost", 9, 1))
    yield "given back"
    step = store.advance(Step("w1", ["q"], 1))
    assert step.started
    while not store.reap(10, 1, 9).lost:
        pass
    yield "reaped"
    step = store.advance(Step("w1", ["q"], LEASE_US, start_all=True))
    claim = step.started or step.held[0]
    store.advance(Step("w1", [], LEASE_US, want=0, outcome=Outcome(claim, "dead")))
    yield "a dead letter"
    store.revive(["a"])
    yield "revived"
    world.dispatch_all()
    store.knows(["another"])
    assert world.take("w2").aside
    yield "put aside"
    store.knows(None)


def hold(world: World, worker: str) -> Record:
    """Take the task "a" behind another that is started, so that it is held."""
    world.ready("first")
    world.redis.lrem(world.keys.of("ready", "q"), 0, "first")
    world.redis.rpush(world.keys.of("ready", "q"), "first")
    step = world.store.advance(Step(worker, ["q"], LEASE_US, want=2))
    assert step.started is not None
    assert step.started.id == "first"
    world.store.advance(Step(worker, [], LEASE_US, want=0, acks=[step.started]))
    [held] = step.held
    return held


def test_a_record_keeps_its_format_in_a_namespace_of_another(world: World, format_: str) -> None:
    world.schedule("a")
    other = next(one for one in FORMATS if one != format_)
    world.redis.hset(world.keys.plain("meta"), "format", other)
    for what in life(world):
        assert raw_of(world).startswith(f"{format_}|".encode()), what
    world.schedule("b", delay_us=HOUR_US)
    assert raw_of(world, "b").startswith(f"{other}|".encode())
    assert {record.id for record in world.drain()} == {"a"}
    world.store.cancel("b")


def test_fields_of_a_newer_dueq_and_the_time_of_scheduling_are_kept(world: World) -> None:
    world.redis.hset(world.keys.plain("meta"), "format", NEWEST)
    world.schedule("a")
    first = decode_record("a", raw_of(world))
    assert world.now_us() - 60 * US < first.scheduled_us <= world.now_us()
    put(world, first._replace(tail=TAIL))
    for what in life(world):
        record = decode_record("a", raw_of(world))
        assert (record.tail, record.scheduled_us) == (TAIL, first.scheduled_us), what
        assert encode_record(record) == raw_of(world), f"{what}: both languages write the same bytes"
    [claim] = world.drain()
    assert (claim.tail, claim.scheduled_us) == (TAIL, first.scheduled_us)


def test_the_next_run_is_written_in_the_format_of_its_namespace(world: World, format_: str) -> None:
    world.ready("a")
    claim = world.started()
    world.store.again(NewTask("a", "q", 0, b'["f",[2],{}]', True), claim.token)
    kept = world.store.kept_again("a")
    assert kept is not None
    assert (kept.format, kept.body) == (format_, b'["f",[2],{}]')
    world.settle("w1", Outcome(claim, "ack"))
    following = decode_record("a", raw_of(world))
    assert (following.format, following.body, following.token) == (format_, b'["f",[2],{}]', claim.token)
    assert bool(following.scheduled_us) is (format_ != "1")
    assert [one.body for one in world.drain()] == [b'["f",[2],{}]']


def test_when_a_task_was_scheduled_is_told_in_both(world: World, format_: str) -> None:
    """Format 1 has it in the journal, format 2 in the record; once that is gone, in the entry of its end."""
    before = world.now_us()
    world.schedule("a", "b", delay_us=HOUR_US)

    def told(task_id: str) -> list[str]:
        events = events_of(world.redis, world.keys, task_id)
        found = story(task_id, world.store.record(task_id), events).events
        assert before - 1000 <= found[0].at_us <= world.now_us()
        return [event.kind for event in found]

    assert told("a") == ["scheduled"]
    world.store.reschedule("a", 2 * HOUR_US, relative=True)
    assert told("a") == ["scheduled", "rescheduled"]
    assert world.store.cancel("a")
    assert told("a") == ["scheduled", "rescheduled", "cancelled"]
    assert told("b") == ["scheduled"]
    world.store.cancel("b")


@pytest.mark.parametrize("begins", ["producer", "engine"])
def test_a_namespace_without_a_format_is_an_older_dueqs(world: World, strategy_name: str, begins: str) -> None:
    meta = world.keys.plain("meta")
    world.redis.delete(meta)
    world.redis.hset(meta, "strategy", strategy_name)
    if begins == "engine":
        world.main.claim()
        assert meta_of(world)["format"] == FORMATS[0]
    world.schedule("a")
    assert raw_of(world).startswith(b"1|")


def test_a_new_namespace_has_the_newest_format(world: World) -> None:
    world.redis.delete(world.keys.plain("meta"))
    world.schedule("a")
    assert meta_of(world)["format"] == NEWEST
    assert raw_of(world).startswith(f"{NEWEST}|".encode())


def _by_migrate(world: World, wanted: str | None) -> str:
    space = world.adopt(Namespace.open(replace(world.settings, strategy=None)))
    migration.begin(space, world.settings.strategy or "", format_=wanted)
    return ownership.format_in(ownership.look(world.redis, world.keys))


def test_migrate_changes_the_format_in_one_step(world: World) -> None:
    world.redis.hset(world.keys.plain("meta"), "format", "1")
    world.schedule("a")
    world.main.claim()
    assert _by_migrate(world, None) == "1"
    for _ in range(2):
        assert _by_migrate(world, "2") == "2"
    world.schedule("b")  # the same processes go on
    assert (raw_of(world)[:2], raw_of(world, "b")[:2]) == (b"1|", b"2|")
    assert {record.id for record in world.drain()} == {"a", "b"}


@pytest.mark.parametrize(("has", "wanted", "says"), [("2", "1", "cannot go back"), ("1", "3", "does not write")])
def test_migrate_refuses_other_formats(world: World, has: str, wanted: str, says: str) -> None:
    world.redis.hset(world.keys.plain("meta"), "format", has)
    world.main.claim()
    with pytest.raises(ConfigurationError, match=says):
        _by_migrate(world, wanted)
    assert meta_of(world)["format"] == has


@pytest.mark.parametrize("older", [True, False])
def test_migrate_refuses_while_an_older_engine_is_alive(world: World, older: bool) -> None:
    """It would put aside what it cannot read."""
    world.redis.hset(world.keys.plain("meta"), "format", "1")
    world.main.claim()
    about = engines.about_me("0.1.0", "lua", 0)
    engines.enter(world.main, "supervisor.host.1.x", about, {}, engines.Served())
    if older:
        said = {name: value for name, value in asdict(about).items() if name != "format"}
        world.redis.hset(world.keys.of("supervisor", "supervisor.host.1.x"), "about", json.dumps(said))
        with pytest.raises(ConfigurationError, match=r"an older dueq, .* stop it first"):
            _by_migrate(world, "2")
        assert meta_of(world)["format"] == "1"
        engines.leave(world.main, "supervisor.host.1.x")
    assert _by_migrate(world, "2") == "2"
    engines.leave(world.main, "supervisor.host.1.x")


@pytest.mark.leaves_keys
def test_a_record_that_is_damaged_while_it_runs_is_set_apart_whole(world: World) -> None:
    for number, kind in enumerate(KINDS):
        world.ready(f"t{number}")
        claim = world.started()
        raw = raw_of(world, claim.id).replace(b"|q|", b"|q q|")
        world.redis.hset(world.keys.record(claim.id), claim.id, raw)
        assert world.settle("w1", Outcome(claim, kind)) == "stale"
        world.store.give_back(Loss("w1", "worker_lost", 9))
        assert world.redis.hexists(world.keys.record(claim.id), claim.id) is False
        [found] = [one for one in quarantined(world.redis, world.keys) if one.id == claim.id]
        assert found.raw == raw
