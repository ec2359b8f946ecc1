"""The registry of supervisors: entries are written, read and removed in bounded steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from support.waiting import wait_until
from support.world import World

from dueq.admin import housekeeping
from dueq.core.clock import US
from dueq.core.store.values import ALIVE_S
from dueq.core.supervisor.presence import Entry, Presence
from dueq.core.upkeep import engines as registry
from dueq.core.upkeep.engines import Process, Role, Served

SERVED = Served(("mail", "default"), {"shop.send": "mail", "shop.pack": "default"})
ROLES = {
    "worker": Role(2, (Process("worker.a", 11, "ready"), Process("worker.b", 12, "booting"))),
    "dispatcher": Role(1, (Process("dispatcher.c", 13, "ready"),)),
}


def _enter(world: World, name: str = "s1", served: Served = SERVED, roles: dict[str, Role] = ROLES) -> registry.About:
    about = registry.about_me("1.2", world.strategy.name, world.now_us())
    registry.enter(world.main, name, about, roles, served)
    return about


def test_what_is_entered_is_read(world: World) -> None:
    about = _enter(world)
    [found] = registry.supervisors(world.main)
    assert (found.name, found.about, found.roles, found.served) == ("s1", about, ROLES, SERVED)
    assert found.alive(world.now_us())
    assert not found.alive(world.now_us() + round(ALIVE_S * US) + US)
    assert abs(found.seen_us - world.now_us()) < 5 * US
    assert registry.task_queues(world.main) == SERVED.tasks
    registry.leave(world.main, "s1")
    assert registry.supervisors(world.main) == []
    assert registry.task_queues(world.main) == {}
    assert world.leftovers() == []


def test_a_sign_of_life_is_one_command_and_tells_if_nobody_knew(world: World) -> None:
    _enter(world)
    before = registry.supervisors(world.main)[0].until_us
    world.store.alive("s1")  # scripts are loaded at the first call
    world.redis.config_resetstat()
    assert world.store.alive("s1") is False
    sent: Any = world.redis.info("commandstats")
    assert sum(sent.get(name, {"calls": 0})["calls"] for name in ("cmdstat_evalsha", "cmdstat_zadd")) <= 2
    assert not sent.keys() & {"cmdstat_hset", "cmdstat_hget", "cmdstat_hmget"}
    assert registry.supervisors(world.main)[0].until_us > before
    world.redis.delete(world.keys.plain("supervisors"))
    assert world.store.alive("s1") is True
    registry.leave(world.main, "s1")


def test_ten_thousand_names_are_written_and_read_a_page_at_a_time(world: World) -> None:
    tasks = {f"shop.tasks.number_{number}": f"queue{number}" for number in range(10_000)}
    served = Served(tuple(tasks.values()), tasks)
    _enter(world, served=served)
    [found] = registry.supervisors(world.main)
    assert found.served == served
    fields: Any = world.redis.hgetall(world.keys.of("supervisor", "s1"))
    assert max(map(len, fields.values())) <= 20 * 1024
    registry.note_served(world.main, "s1", SERVED)
    assert registry.supervisors(world.main)[0].served == SERVED
    left: Any = world.redis.hkeys(world.keys.of("supervisor", "s1"))
    assert {name.decode() for name in left} == {"about", "roles", "served", "queues:0", "tasks:0"}
    registry.leave(world.main, "s1")
    assert world.leftovers() == []


def test_workers_write_what_they_serve_only_if_it_is_new_and_there_is_an_entry(world: World) -> None:
    registry.note_served(world.main, "s1", SERVED)
    assert world.leftovers() == []
    _enter(world)
    world.redis.hset(world.keys.of("supervisor", "s1"), "tasks:0", "[]")
    registry.note_served(world.main, "s1", SERVED)
    assert registry.task_queues(world.main) == {}, "its digest is the same"
    registry.note_served(world.main, "s1", replace(SERVED, queues=("mail",)))
    assert registry.task_queues(world.main) == SERVED.tasks
    registry.leave(world.main, "s1")


def test_in_a_rollout_the_newer_one_counts(world: World) -> None:
    older = registry.about_me("1", "x", world.now_us() - US)
    registry.enter(world.main, "new", registry.about_me("2", "x", world.now_us()), {}, Served(("b",), {"t": "b"}))
    registry.enter(world.main, "old", older, {}, Served(("a",), {"t": "a", "gone": "a"}))
    assert registry.task_queues(world.main) == {"t": "b", "gone": "a"}
    for name in ("old", "new"):
        registry.leave(world.main, name)


def test_the_long_dead_are_forgotten_a_hundred_at_a_time(world: World) -> None:
    zset = world.keys.plain("supervisors")
    long_ago = world.now_us() - round((registry.FORGOTTEN_S + 60) * US)
    for number in range(150):
        _ = world.redis.hset(world.keys.of("supervisor", f"dead{number}"), "about", "{}")
        world.redis.zadd(zset, {f"dead{number}": long_ago})
    _enter(world)
    assert world.redis.zcard(zset) == 51
    _enter(world)
    assert world.redis.zcard(zset) == 1
    registry.leave(world.main, "s1")
    assert world.leftovers() == []


@pytest.mark.parametrize("damage", ["{", "[]", "7", '{"a": 1}', '{"host": []}'])
def test_what_cannot_be_read_hides_nobody_else(world: World, damage: str) -> None:
    _enter(world)
    world.redis.zadd(world.keys.plain("supervisors"), {"odd": 1})
    world.redis.zadd(world.keys.plain("supervisors"), {b"\xff": 2})
    for field in ("about", "roles", "served"):
        world.redis.hset(world.keys.of("supervisor", "odd"), "about", json.dumps({"host": "h"}))
        world.redis.hset(world.keys.of("supervisor", "odd"), field, damage)
        assert [one.name for one in registry.supervisors(world.main)] == ["s1"]
    housekeeping.purge(world.main)
    world.redis.delete(world.keys.of("supervisor", "odd"))


@pytest.mark.parametrize("place", ["supervisors", "entry"])
def test_what_stands_in_its_place_is_cleared_away(world: World, place: str) -> None:
    entry = Entry(world.main, "s1", "1.2", SERVED, lambda: ROLES)
    presence = Presence(entry)
    presence.start()
    try:
        wait_until(lambda: len(registry.supervisors(world.main)) == 1)
        key = world.keys.plain("supervisors") if place == "supervisors" else world.keys.of("supervisor", "s1")
        world.redis.set(key, "odd")
        assert registry.supervisors(world.main) == []
        entry.doubt()
        presence.look()
        wait_until(lambda: len(registry.supervisors(world.main)) == 1, 10)
    finally:
        presence.stop()
    assert world.leftovers() == []


def test_a_doubt_that_comes_while_the_entry_is_written_is_heeded(world: World) -> None:
    def roles() -> Mapping[str, Role]:
        entries[0].doubt()
        return ROLES

    entry = Entry(world.main, "s1", "1.2", SERVED, roles)
    entries = [entry]
    entry.run_once()
    world.redis.delete(world.keys.of("supervisor", "s1"))
    entry.run_once()
    assert [one.name for one in registry.supervisors(world.main)] == ["s1"]
    entry.leave()


@pytest.mark.parametrize("damage", [b"\xff", b"7"])
def test_rubbish_in_an_entry_does_not_end_what_keeps_it(world: World, damage: bytes) -> None:
    world.redis.hset(world.keys.of("supervisor", "s1"), "served", damage)
    presence = Presence(Entry(world.main, "s1", "1.2", SERVED, lambda: ROLES))
    presence.start()
    try:
        wait_until(lambda: [one.served for one in registry.supervisors(world.main)] == [SERVED], 10)
    finally:
        presence.stop()


def test_a_newer_dueq_may_add_fields(world: World) -> None:
    _enter(world)
    key = world.keys.of("supervisor", "s1")
    for field in ("about",):
        raw: Any = world.redis.hget(key, field)
        world.redis.hset(key, field, json.dumps(json.loads(raw) | {"moon": "full"}))
    assert len(registry.supervisors(world.main)) == 1
    registry.leave(world.main, "s1")


def test_a_purge_takes_it_away(world: World) -> None:
    _enter(world)
    _enter(world, "s2")
    housekeeping.purge(world.main)
    assert world.found() == []
