"""A namespace that an older dueq wrote: neither a start nor the auditor loses any of its tasks."""

from __future__ import annotations

from typing import Any

import pytest
from support.audits import Audits
from support.queues import notes_at_fault
from support.world import World

from dueq.core.client.counting import COMMANDS
from dueq.core.store.values import Loss, Outcome
from dueq.core.upkeep.layout import bring_up_to_date
from dueq.strategies.zset_index import ScriptedTimers

HOUR_US = 3600 * 1_000_000
QUEUES = ("q", "other", "third")


def older(world: World) -> None:
    """Leases in an index a queue, and nothing that says which queues have work, or when the first task is due."""
    client: Any = world.redis
    for raw, end in client.zrange(world.keys.plain("leased"), 0, -1, withscores=True):
        queue, _, task_id = raw.decode().partition(":")
        client.zadd(world.keys.of("leased_before", queue), {task_id: end})
    client.delete(world.keys.plain("leased"), world.keys.plain("busy"), world.keys.heads(world.strategy.name))


def fill(world: World) -> None:
    """Tasks that wait, are due, are ready, are leased, and one whose lease has run out."""
    for queue in QUEUES:
        world.ready(f"leased-{queue}", f"ready-{queue}", f"silent-{queue}", queue=queue)
        assert world.started("w1", queue).id == f"leased-{queue}"
    world.schedule("later", delay_us=HOUR_US)
    world.schedule("earlier", queue="other", delay_us=HOUR_US - 1)
    world.schedule("due", queue="third")


@pytest.mark.parametrize("by", ["the engine", "the auditor"])
def test_nothing_of_an_older_layout_is_lost(world: World, by: str) -> None:
    fill(world)
    world.main.claim()
    older(world)
    if by == "the engine":
        bring_up_to_date(world.main)
    else:
        heads = {"head": 3} if isinstance(world.strategy, ScriptedTimers) else {}
        assert Audits(world).run() == {"busy": 3} | heads
    assert notes_at_fault(world, QUEUES) == []
    assert world.store.leases() == dict.fromkeys(QUEUES, 1)
    assert not [key for key in world.found() if key.startswith(world.keys.of("leased_before", "").encode())]
    world.redis.zadd(world.keys.plain("leased"), {world.keys.lease("q", "leased-q"): 1})
    assert [one.id for one in world.store.reap(100, 1, 3).lost] == ["leased-q"]
    assert sorted(record.id for record in world.drain()) == sorted(
        ["due", "leased-q", *(f"{state}-{queue}" for state in ("ready", "silent") for queue in QUEUES)]
    )
    assert sorted(one.id for one in world.store.give_back(Loss("w1", "unstarted", 3))) == [
        "leased-other",
        "leased-third",
    ]
    assert world.states()["scheduled"] == world.states("other")["scheduled"] == 1


def test_a_lease_that_was_extended_since_keeps_its_end(world: World) -> None:
    world.ready("a")
    claim = world.started()
    world.redis.zadd(world.keys.of("leased_before", "q"), {"a": 1})
    bring_up_to_date(world.main)
    assert world.store.reap(100, 1, 3).lost == []
    assert world.settle("w1", Outcome(claim, "ack")) == "done"


def test_many_leases_are_moved_in_bounded_steps(world: World) -> None:
    world.redis.sadd(world.keys.plain("queues"), "q")
    world.redis.zadd(world.keys.of("leased_before", "q"), {f"t{number}": number for number in range(350)})
    bring_up_to_date(world.main)
    assert world.redis.zcard(world.keys.plain("leased")) == 350
    while world.store.leases():
        assert world.store.reap(1000, 1, 3).lost == []  # no record says that these are leased


def test_what_is_up_to_date_costs_one_command(world: World) -> None:
    bring_up_to_date(world.main)
    sent = COMMANDS.sent
    bring_up_to_date(world.main)
    assert COMMANDS.sent == sent + 1
