"""When an audit is due, which of several auditors makes it, and what it costs."""

from __future__ import annotations

import itertools

import pytest
from redis.exceptions import ResponseError
from support.audits import Audits
from support.mortal import interrupted
from support.world import World

from dueq.core.client.counting import COMMANDS
from dueq.core.errors import StrategyMismatch
from dueq.core.maintenance import audit as audit_module
from dueq.core.maintenance import auditor as auditor_module
from dueq.core.maintenance.auditor import Auditor
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import ReaperTelemetry
from dueq.core.upkeep.audit_times import request_audit

pytestmark = pytest.mark.one_server

# -- when it runs


def test_an_audit_is_due_once_an_interval_for_all_auditors(world: World) -> None:
    first, second = Audits(world), Audits(world, world.actor())
    assert first.run() == {}
    sent = COMMANDS.sent
    assert 40 < second.auditor.run_once() < 80
    assert not second.auditor.busy
    assert COMMANDS.sent - sent <= 3
    audited = int(world.redis.get(world.keys.plain("audited")) or 0)
    for then, busy in ((audited - 3599 + 10, False), (audited - 3601, True), (audited + 3700, True)):
        world.redis.set(world.keys.plain("audited"), then)
        other = Audits(world).auditor
        other.run_once()
        assert other.busy is busy


@pytest.mark.parametrize(("first_in", "interval"), [(50.0, 3600.0), (3600.0, 50.0)])
def test_the_first_look_has_time_but_no_more_than_an_interval(world: World, first_in: float, interval: float) -> None:
    telemetry = ReaperTelemetry(Counters(), "reaper", world.strategy.name)
    auditor = Auditor(world.main, telemetry, interval=interval, grace=1.0, first_in=first_in)
    assert 0 < auditor.run_once() <= 50
    assert not auditor.busy


@pytest.mark.parametrize("moment", range(8))
def test_of_auditors_that_look_at_once_one_audits(world: World, moment: int) -> None:
    """The second looks, and begins if it may, before each single command of the first one's look."""
    second, calls = Audits(world, world.actor()), itertools.count()

    def meanwhile() -> None:
        if next(calls) == moment:
            second.auditor.run_once()

    first = Audits(world, interrupted(world.actor(), meanwhile))
    first.auditor.run_once()
    if next(calls) <= moment:
        second.auditor.run_once()
    assert [first.auditor.busy, second.auditor.busy].count(True) == 1


def test_recoveries_ask_for_one_audit_soon(world: World) -> None:
    audits = Audits(world)
    audits.run()
    audited = int(world.redis.get(world.keys.plain("audited")) or 0)
    for _ in range(5):
        request_audit(world.main)
    patient = Audits(world).auditor
    assert 40 < patient.run_once() < 80
    assert not patient.busy  # not so soon after the last one
    world.redis.set(world.keys.plain("audited"), audited - int(auditor_module._SPACING_S) - 1)
    again = Audits(world)
    assert len(list(again.go_on())) > 10
    other = Audits(world).auditor
    other.run_once()
    assert not other.busy


def test_it_leaves_a_namespace_that_is_being_moved_alone(world: World) -> None:
    world.main.claim()
    world.redis.hset(world.keys.plain("meta"), "from", "another")
    audits = Audits(world)
    assert 40 < audits.auditor.run_once() < 80
    assert world.redis.get(world.keys.plain("audited")) is None
    world.redis.hdel(world.keys.plain("meta"), "from")
    assert audits.run() == {}


def test_a_migration_that_begins_meanwhile_ends_the_audit(world: World) -> None:
    world.schedule("a")
    world.strategy.clear(["q"])
    audits = Audits(world)
    for _ in audits.steps():
        world.redis.hset(world.keys.plain("meta"), "from", "another")
    assert audits.repairs == {}
    world.redis.hdel(world.keys.plain("meta"), "from")
    assert audits.run() == {"scheduled": 1}


def test_it_stops_where_another_strategy_keeps_the_namespace(world: World) -> None:
    world.main.claim()
    world.redis.hset(world.keys.plain("meta"), "strategy", "another")
    with pytest.raises(StrategyMismatch, match="another"):
        Audits(world).run()
    world.redis.delete(world.keys.plain("meta"))


def test_after_trouble_with_redis_it_begins_again(world: World) -> None:
    world.schedule("a")
    world.strategy.clear(["q"])
    shard = next(key for key in world.keys.records() if key != world.keys.record("a"))
    world.redis.set(shard, "no hash")
    audits = Audits(world)
    audits.run()
    with pytest.raises(ResponseError):
        world.redis.hgetall(shard)
    world.redis.delete(shard)
    for _ in audits.go_on():  # although it stands in Redis that an audit has just begun
        pass
    assert audits.repairs == {"scheduled": 1}


# -- what it costs


def test_an_audit_of_nothing_costs_a_command_a_hash(world: World) -> None:
    audits = Audits(world)
    sent = COMMANDS.sent
    assert audits.run() == {}
    assert COMMANDS.sent - sent < 4096 + 40


def test_a_backlog_and_many_losses_in_bounded_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are ready or lost."""
    monkeypatch.setattr(audit_module, "_SUSPECTS", 100)
    ids = [f"t{number}" for number in range(5000)]
    lost = [f"x{number}" for number in range(450)]
    world.ready(*lost)
    world.redis.delete(world.keys.of("ready", "q"))
    world.ready(*ids)
    audits = Audits(world)
    longest, sent = 0, COMMANDS.sent
    for _ in audits.steps():
        longest, sent = max(longest, COMMANDS.sent - sent), COMMANDS.sent
    assert audits.repairs == {"scheduled": 450}
    assert longest <= 400
    world.dispatch_all()
    assert world.states()["ready"] == 5450
    world.wipe()
