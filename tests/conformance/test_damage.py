"""Rubbish in Redis: everything else goes on, and the damaged data is kept, counted and shown."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from redis.exceptions import ResponseError
from support.audits import Audits
from support.world import LEASE_US, World

from dueq.admin import housekeeping
from dueq.core.client.failures import TRANSIENT
from dueq.core.errors import DueqError, NamespaceTooNew
from dueq.core.schema.format import FORMATS
from dueq.core.schema.key_types import PLAIN
from dueq.core.schema.ownership import FIELDS
from dueq.core.schema.quarantine import Quarantined, counts, quarantined
from dueq.core.schema.record import is_newer, readable_record
from dueq.core.store import crowds
from dueq.core.store.strategy import Entry
from dueq.core.store.values import Loss, NewTask, Outcome
from dueq.core.upkeep import engines
from dueq.core.upkeep.clearing import Clearing
from dueq.core.upkeep.reclaim import Reclaim

pytestmark = pytest.mark.leaves_keys

SOUND = b'1|S|%d|q|0|0|0|||||["f",[]]'
DAMAGED = {
    "no record": b"rubbish",
    "empty": b"",
    "no text": b"\xff\xfe\x00|S|",
    "truncated": b"1|S|17323",
    "a cause that is none": b'1|S|1|q|0|0|0|z||||["f",[]]',
    "a state that is none": b'1|X|1|q|0|0|0|||||["f",[]]',
    "5,000 digits": b"1|S|" + b"9" * 5000 + b'|q|0|0|0|||||["f",[]]',
    "5,000 digits of starts": b"1|S|1|q|" + b"9" * 5000 + b'|0|0|||||["f",[]]',
    "no text in its queue": b'1|S|1|q\xff|0|0|0|||||["f",[]]',
    "a number below zero": b'1|S|-1|q|0|0|0|||||["f",[]]',
    "a history that is none": b'2|S|1|q|0|1,2||||["f",[]]',
    "a cause that is none, in format 2": b'2|S|1|q|0|1,0,0,z,||||["f",[]]',
    "5,000 digits of history": b"2|S|1|q|0|" + b"9" * 5000 + b',0,0,,||||["f",[]]',
    "a bar too few, in format 2": b'2|S|1|q|0||||["f",[]]',
    "truncated, in format 2": b"2|S|1796019216376007|q|0||",
    "version zero": b'0|S|1|q|0|0|0|||||["f",[]]',
}
IDS = [b"\xff\xfe", b"two words", b"", b"x" * 200, "täglich".encode()]


def in_quarantine(world: World) -> list[Quarantined]:
    return list(quarantined(world.main.client, world.keys))


def all_run(world: World) -> set[str]:
    return {record.id for record in world.drain()}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_in_a_ready_list(world: World, name: str) -> None:
    raw = DAMAGED[name]
    assert readable_record("bad", raw) is None
    assert not is_newer(raw)
    world.ready("good1")
    world.redis.hset(world.keys.record("bad"), "bad", raw)
    world.redis.lpush(world.keys.of("ready", "q"), "bad")
    world.ready("good2")
    step = world.take(want=9)
    assert [claim.id for claim in [step.started, *step.held] if claim] == ["good1", "good2"]
    assert step.dropped == []  # it is no duplicate
    [one] = in_quarantine(world)
    assert (one.kind, one.place, one.id, one.raw) == ("record", "ready:q", "bad", raw)
    assert one.at_us > 0
    assert counts(world.main.client, world.keys) == {"record": 1, "entry": 0, "key": 0, "field": 0}
    assert world.store.record("bad") is None


def test_entries_that_are_no_ids(world: World) -> None:
    world.ready("good1")
    for raw in IDS:
        world.redis.lpush(world.keys.of("ready", "q"), raw)
    world.ready("good2")
    assert all_run(world) == {"good1", "good2"}
    found = in_quarantine(world)
    assert sorted(one.id.encode(errors="surrogateescape") for one in found) == sorted(IDS)
    assert {one.kind for one in found} == {"entry"}


def test_newer_is_not_damaged(world: World) -> None:
    """It stays in its hash, its entry is put aside, and it comes back to nobody who cannot read it."""
    raw = b"99|S|whatever a newer dueq writes"
    world.redis.hset(world.keys.record("newer"), "newer", raw)
    world.redis.lpush(world.keys.of("ready", "q"), "newer")
    world.ready("good")
    for _ in range(3):
        step = world.take(want=9)
        assert step.dropped == []
    assert world.redis.hget(world.keys.record("newer"), "newer") == raw
    assert world.store.unclaimed() == {("q", '"newer"'): 1}
    assert in_quarantine(world) == []
    Audits(world).run()
    assert world.redis.hget(world.keys.record("newer"), "newer") == raw


def test_a_newer_record_whose_lease_ran_out_stays_leased(world: World) -> None:
    lease = world.keys.lease("q", "newer")
    world.redis.hset(world.keys.record("newer"), "newer", b"99|L|whatever")
    world.redis.zadd(world.keys.plain("leased"), {lease: 1})
    reaped = world.store.reap(100, LEASE_US, 3)
    assert reaped.lost == []
    assert reaped.next_us is not None
    assert reaped.next_us > reaped.now_us  # or the reaper would spin
    assert world.redis.zscore(world.keys.plain("leased"), lease) is not None


def test_scheduling_onto_damaged_records(world: World) -> None:
    """Their bytes go into quarantine, and the tasks are scheduled like any others."""
    raws = {f"bad{at}": raw for at, raw in enumerate(DAMAGED.values())}
    for id, raw in raws.items():
        world.redis.hset(world.keys.record(id), id, raw)
    new = [NewTask(id, "q", 0, b'["f",[]]', True) for id in ("a", *raws, "b", "bad0")]
    assert [one.existing for one in world.store.schedule(new)] == [""] * (len(new) - 1) + ["scheduled"]
    found = in_quarantine(world)
    assert {one.id: one.raw for one in found} == raws
    assert {one.kind for one in found} == {"record"}
    assert all(world.keys.prefix + one.place == world.keys.record(one.id) for one in found)
    assert all_run(world) == {"a", *raws, "b"}


def test_scheduling_onto_a_newer_record_is_refused(world: World) -> None:
    raw = b"99|S|whatever a newer dueq writes"
    world.redis.hset(world.keys.record("newer"), "newer", raw)
    with pytest.raises(DueqError, match="a newer dueq wrote"):
        world.schedule("newer")
    assert world.redis.hget(world.keys.record("newer"), "newer") == raw


def test_what_a_worker_held_and_nobody_can_read_is_kept(world: World) -> None:
    """Newer is set aside, damaged goes into quarantine; the rest is given back."""
    newer, damaged = b"99|L|whatever a newer dueq writes", b"1|L|rubbish"
    world.ready("good")
    assert world.started("w1").id == "good"
    for id, raw in (("newer", newer), ("bad", damaged)):
        world.redis.hset(world.keys.record(id), id, raw)
        world.redis.lpush(world.keys.of("held", "w1"), id)
    world.redis.lpush(world.keys.of("held", "w1"), b"\xff", "gone")
    assert [one.id for one in world.store.give_back(Loss("w1", "worker_lost", 9))] == ["good"]
    assert world.redis.exists(world.keys.of("held", "w1")) == 0
    assert world.store.unclaimed() == {("?", '"newer"'): 1}
    assert world.redis.hget(world.keys.record("newer"), "newer") == newer
    assert {(one.kind, one.place, one.raw) for one in in_quarantine(world)} == {
        ("record", "held:w1", damaged),
        ("entry", "held:w1", b""),
    }
    assert all_run(world) == {"good"}


def test_what_was_put_aside_and_nobody_can_read_any_more_is_kept(world: World) -> None:
    world.store.knows(["f"])
    world.ready("newer", "bad", "good", calls="g")
    world.take(want=9)
    assert world.store.unclaimed() == {("q", "g"): 3}
    newer, damaged = b"99|S|whatever a newer dueq writes", b""
    world.redis.hset(world.keys.record("newer"), "newer", newer)
    world.redis.hset(world.keys.record("bad"), "bad", damaged)
    world.store.knows(["f", "g"])
    assert all_run(world) == {"good"}
    assert world.store.unclaimed() == {("q", '"newer"'): 1}
    assert world.redis.hget(world.keys.record("newer"), "newer") == newer
    assert [(one.kind, one.place, one.raw) for one in in_quarantine(world)] == [("record", "unclaimed:q", damaged)]


def test_the_auditor_finds_damage_that_nobody_meets(world: World) -> None:
    world.schedule("good")
    for at, raw in enumerate(DAMAGED.values()):
        world.redis.hset(world.keys.record(f"bad{at}"), f"bad{at}", raw)
    Audits(world).run()
    assert sorted(one.raw for one in in_quarantine(world)) == sorted(DAMAGED.values())
    assert all_run(world) == {"good"}


def test_one_bad_dead_letter_does_not_hide_the_good_ones(world: World) -> None:
    world.ready("a", "b", "c")
    for _ in range(3):
        world.settle("w1", Outcome(world.started(), "dead", reason="why"))
    world.redis.hset(world.keys.record("b"), "b", b"rubbish")
    world.redis.zadd(world.keys.of("dead", "q"), {b"\xff": 1})
    assert [letter.record.id for letter in world.store.dead("q", 0, 99)] == ["a", "c"]
    assert world.store.revive(["a", "b", "c"]) == 2


def fill(world: World, key: str, **fields: str) -> None:
    for name, value in fields.items():  # one by one: so does Redis 2.4
        world.redis.hset(key, name, value)


RUBBISH: dict[str, Callable[[World], object]] = {
    "queues": lambda world: world.redis.sadd(world.keys.plain("queues"), b"\xff", "a b", ""),
    "workers": lambda world: world.redis.zadd(world.keys.plain("workers"), {b"\xff\xfe": 1, b"a b": 2}),
    "leased": lambda world: world.redis.zadd(
        world.keys.plain("leased"), {b"\xff": 1, b"q:": 2, b":x": 3, b"q:\xff": 4}
    ),
    "stats": lambda world: world.redis.hset(world.keys.plain("stats"), b"\xff:\xff", b"\xff"),
    "stats of ours": lambda world: world.redis.hset(world.keys.plain("stats"), "cancelled:elsewhere", "many"),
    "audited": lambda world: world.redis.set(world.keys.plain("audited"), b"\xff"),
    "recovered": lambda world: world.redis.set(world.keys.plain("recovered"), b"\xff"),
    "revoked": lambda world: world.redis.hset(world.keys.plain("revoked"), b"\xff", b"\xff"),
    "revoked of ours": lambda world: fill(world, world.keys.plain("revoked"), a="many", b="9" * 400),
    "revoked, in a ready list": lambda world: (
        world.redis.hset(world.keys.plain("revoked"), b"\xff", "9" * 400),
        world.redis.lpush(world.keys.of("ready", "q"), b"\xff"),
    ),
    "sizes": lambda world: fill(world, world.keys.of("sizes", "q"), all="many", second="none"),
    "reasons": lambda world: world.redis.hset(world.keys.plain("reasons"), b"\xff", b"\xff"),
    "aside": lambda world: world.redis.zadd(world.keys.plain("aside"), {b"\xff": 1, b"q:nothing": 2, b"q:\xff": 3}),
    "busy": lambda world: world.redis.zadd(world.keys.plain("busy"), {b"\xff": 1}),
    "held": lambda world: world.redis.lpush(world.keys.of("held", "w1"), b"\xff", "nobody"),
    "dead": lambda world: world.redis.zadd(world.keys.of("dead", "q"), {b"\xff": 1}),
    "journal": lambda world: world.redis.lpush(world.keys.journals()[0], b"\xff", "1|2|3"),
    "token": lambda world: world.redis.set(world.keys.plain("token"), b"\xff"),
    "token, of 5,000 digits": lambda world: world.redis.set(world.keys.plain("token"), b"9" * 5000),
    "token, below zero": lambda world: world.redis.set(world.keys.plain("token"), b"-7"),
    "wake": lambda world: world.redis.lpush(world.keys.plain("wake"), b"\xff"),
}


@pytest.mark.parametrize("where", RUBBISH)
def test_rubbish_in(world: World, where: str) -> None:
    """Schedule, dispatch, claim, give back, reap, audit, look: all of it goes on."""
    world.ready("a", "b")
    world.take("w1", want=2)
    RUBBISH[where](world)
    assert {one.id for one in world.store.give_back(Loss("w1", "worker_lost", 9))} == {"a", "b"}
    world.schedule("c")
    for _ in range(3):
        for worker in world.store.reap(100, LEASE_US, 3).silent_workers:
            world.store.give_back(Loss(worker, "lease_expired", 3))
    assert world.store.reap(100, LEASE_US, 3).silent_workers == []  # or the reaper would come back to it for ever
    queues = world.store.queues()
    world.strategy.census(queues)
    for queue in queues:
        world.store.depth(queue)
    world.store.producer_counts()
    world.store.dead("q", 0, 99)
    world.store.unclaimed()
    Audits(world).run()
    assert all_run(world) == {"a", "b", "c"}


def test_a_cancel_where_the_count_of_void_entries_is_rubbish(world: World) -> None:
    world.ready("a", "b", "c")
    fill(world, world.keys.plain("revoked"), a="many", b="9" * 400)
    assert world.store.cancel("a")
    assert world.store.reschedule("b", LEASE_US, relative=True)
    step = world.take(want=9)
    assert [step.started and step.started.id, step.held, step.dropped] == ["c", [], []]
    assert world.redis.hgetall(world.keys.plain("revoked")) == {}


def test_what_is_no_call_at_all_is_for_a_worker_to_bury(world: World) -> None:
    """Put aside, nobody would ever come who knows its name."""
    world.store.knows(["f"])
    world.store.schedule([NewTask(f"t{at}", "q", 0, body, True) for at, body in enumerate(NO_CALLS)])
    world.dispatch_all()
    steps = [world.take(f"w{at}") for at in range(len(NO_CALLS))]
    assert [step.started.body for step in steps if step.started] == NO_CALLS
    assert not any(step.aside for step in steps)


NO_CALLS = [b"xyz", b"", b"[]", b'["', b'{"a": "b"}', b"\xff"]


@pytest.mark.parametrize("field", FIELDS)
def test_rubbish_in_meta_is_put_away_by_an_engine(world: World, field: str) -> None:
    """Loops take it for trouble that passes; the engine claims the namespace anew, and everything goes on."""
    meta, reclaim = world.keys.plain("meta"), Reclaim(world.main)
    reclaim.settle()
    right = world.redis.hgetall(meta)
    if field == "format":  # an older dueq may be at work there: what it was is not known any more
        right[b"format"] = FORMATS[0].encode()
    values = [b"\xff", b"two words", b"DUEQTOONEW 2 x ", b"?" * 400]
    for at, value in enumerate(values):
        world.ready(f"before{at}")
        world.redis.hset(meta, field, value)
        for step in (lambda at=at: world.schedule(f"then{at}"), world.dispatch_all, lambda: world.take("w1")):
            with suppress(*TRANSIENT):
                step()
        reclaim.run_once()
        assert reclaim.settled
        assert world.redis.hgetall(meta) == right
        world.store.give_back(Loss("w1", "unstarted", 9))
        assert f"before{at}" in all_run(world)
    found = in_quarantine(world)
    assert {(one.kind, one.place, one.id) for one in found} == {("field", "meta", field)}
    assert [one.raw for one in found] == values


@pytest.mark.parametrize(("field", "value"), [("format", "99"), ("format", "10"), ("features", "limits,flows")])
def test_what_a_newer_dueq_wrote_into_meta_stays(world: World, field: str, value: str) -> None:
    meta = world.keys.plain("meta")
    world.main.claim()
    world.redis.hset(meta, field, value)
    if field == "format":  # then this version cannot tell what is rubbish there
        world.redis.hset(meta, "features", b"\xff")
    before = world.redis.hgetall(meta)
    for step in (world.main.claim, Reclaim(world.main).run_once, lambda: world.schedule("a"), lambda: world.take()):
        with pytest.raises(NamespaceTooNew, match="newer dueq"):
            step()
    assert world.redis.hgetall(meta) == before
    assert in_quarantine(world) == []


@pytest.mark.parametrize("field", [*FIELDS, "crowds", "aside", "names:x"])
def test_what_is_no_text_in_meta_ends_no_loop(world: World, field: str) -> None:
    """Whatever comes of it is an error that says so, and that loops go on after or end in order with."""
    world.ready("a", "b")
    world.redis.hset(world.keys.plain("meta"), field, b"\xff")
    steps: list[Callable[[], object]] = [
        lambda: world.schedule("c"),
        lambda: world.dispatch_all(),
        lambda: world.take(),
        lambda: world.store.cancel("b"),
        lambda: crowds.keys_of_all(world.main.client, world.keys),
        lambda: [Reclaim(world.main).run_once() for _ in range(3)],
        lambda: Audits(world).run(),
    ]
    for step in steps:
        with suppress(*TRANSIENT, DueqError):
            step()


def test_whatever_bytes_a_record_has(world: World) -> None:
    """What the scripts take for a task, Python can read; all else is in quarantine or put aside, none is lost."""
    dice = random.Random(1)
    sound = SOUND % world.now_us()
    raws = {}
    for at in range(200):
        odd = bytearray(sound)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(odd))
            odd[place : place + dice.randint(0, 3)] = bytes(
                dice.choices([*b'|SHLDU0129\xff"[]', dice.randrange(256)], k=2)
            )
        raws[f"t{at}"] = bytes(odd)
        world.redis.hset(world.keys.record(f"t{at}"), f"t{at}", bytes(odd))
        world.redis.lpush(world.keys.of("ready", "q"), f"t{at}")
    world.ready("good")
    assert "good" in all_run(world)
    kept = {one.id: one.raw for one in in_quarantine(world)}
    for task_id, raw in raws.items():
        if readable_record(task_id, raw) is None and not is_newer(raw):
            assert kept.pop(task_id) == raw
    assert kept == {}


OF_QUEUE = ("ready", "wakeup", "dead", "seconds", "sizes", "leased_before")
BROKEN: dict[str, Callable[[World], set[str]]] = {
    "all of which there is one": lambda world: {world.keys.plain(name) for name in PLAIN},
    "a queue's": lambda world: {
        *(world.keys.of(family, "q") for family in OF_QUEUE),
        world.keys.timer(world.strategy.name, "q"),
    },
    "others": lambda world: {
        world.keys.heads(world.strategy.name),
        world.keys.journal("a"),
        world.keys.of("held", "w1"),
        world.keys.of("quarantine", "key"),
        world.keys.record("b"),
        *(key.decode() for key in world.found() if b":bucket:far:" in key),
    },
}


@pytest.mark.parametrize("which", BROKEN)
def test_keys_of_another_type_make_room(world: World, which: str) -> None:
    """Every step goes on, and no task is lost beside those whose records it was."""
    world.store.knows(["f"])
    world.ready("a", "b")
    world.schedule("e", queue="far", delay_us=LEASE_US)
    assert world.take("w1", lease_us=1).started
    broken = BROKEN[which](world)
    strings = {world.keys.plain(name) for name, holds in PLAIN.items() if holds.type == "string"}
    for key in broken:
        world.redis.delete(key)
        _ = world.redis.sadd(key, "odd") if key in strings else world.redis.set(key, "odd")
    for step in (lambda: world.schedule("c"), world.dispatch_all, lambda: world.take("w2")):
        with suppress(ResponseError):
            step()
    refused = True
    clearing = Clearing(world.main, lambda: refused)
    clearing.run_once()
    found = [one for one in in_quarantine(world) if one.kind == "key"]
    # what only stands beside the tasks is dropped by the step that meets it, and made anew
    beside = {
        world.keys.journal("a"),
        *(world.keys.plain(name) for name in ("stats", "wake", "guard", "busy", "reasons")),
    }
    apart = {world.keys.prefix + one.id for one in found}
    assert broken - beside - {world.keys.of("wakeup", "q")} <= apart <= broken
    assert all(world.redis.exists(one.raw) for one in found), "whole as they are"
    world.main.claim()
    world.schedule("c", "d")
    world.store.give_back(Loss("w2", "worker_lost", 9))
    for _ in range(2):
        world.store.reap(100, LEASE_US, 9)
        Audits(world).run()
    lost = {"b"} if which == "others" else set()
    assert all_run(world) == {"a", "b", "c", "d"} - lost
    assert [census.scheduled for census in world.strategy.census(["far"])] == [1]
    assert not world.strategy.missing([Entry("far", "e", record.due_us)] if (record := world.store.record("e")) else [])
    refused = False
    assert clearing.run_once() > 0
    housekeeping.purge(world.main)
    assert not any(world.redis.exists(one.raw) for one in found)


def test_keys_that_nothing_led_to_yet_make_room(world: World) -> None:
    """What is refused the first time that it is needed is found, too."""
    served = engines.Served((), {})
    roles = {"worker": engines.Role(1, (engines.Process("idle", 1, "ready"),))}
    engines.enter(world.main, "s1", engines.about_me("1", world.strategy.name, 0), roles, served)
    world.store.knows(["f"])
    world.ready("unknown", calls="g")
    broken = {world.keys.of("held", "idle"), world.keys.of("unclaimed", "q:g")}
    for key in broken:
        world.redis.set(key, "odd")
    with suppress(ResponseError):
        world.take("w1")
    Clearing(world.main, lambda: True).run_once()
    assert {world.keys.prefix + one.id for one in in_quarantine(world) if one.kind == "key"} == broken
    world.store.give_back(Loss("w1", "unstarted", 9))
    Audits(world).run()
    world.take("w1")
    world.store.knows(["f", "g"])
    assert all_run(world) == {"unknown"}


def test_a_token_of_another_type_is_made_anew(world: World) -> None:
    world.ready("a", "b")
    world.redis.lpush(world.keys.plain("token"), "odd")
    first, second = world.started("w1"), world.started("w2")
    assert first.token < second.token
    last: Any = world.redis.get(world.keys.plain("token"))
    assert int(last) == second.token


def test_what_a_newer_dueq_keeps_is_left_alone(world: World) -> None:
    world.ready("a")
    world.redis.hset(world.keys.plain("meta"), "format", "99")
    world.redis.set(world.keys.plain("tmps"), "of another type there")
    with pytest.raises(NamespaceTooNew):
        Clearing(world.main, lambda: True).run_once()
    assert world.redis.get(world.keys.plain("tmps"))


@pytest.mark.parametrize("strategy_name", ["buckets"])
def test_a_bucket_of_another_type_that_only_a_record_leads_to(world: World) -> None:
    world.schedule("a")
    [bucket] = [key for key in world.found() if b":bucket:" in key]
    world.redis.delete(bucket, world.keys.of("seconds", "q"))
    world.redis.set(bucket, "odd")
    assert Audits(world).run() == {"key": 1, "scheduled": 1}
    assert all_run(world) == {"a"}


def test_a_key_of_another_type_in_a_queue_that_only_a_record_leads_to(world: World) -> None:
    world.schedule("a", delay_us=LEASE_US)
    world.redis.delete(world.keys.plain("queues"), world.keys.plain("busy"))
    world.strategy.clear(["q"])
    for key in (world.keys.of("ready", "q"), world.keys.of("dead", "q")):
        world.redis.set(key, "odd")
    audits = Audits(world)
    audits.run()
    for _ in audits.go_on():
        pass
    assert audits.repairs["key"] == 2
    assert world.store.queues() == ["q"]
    assert [census.scheduled for census in world.strategy.census(["q"])] == [1]
