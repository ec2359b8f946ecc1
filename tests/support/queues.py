"""What is kept of queues beside their tasks, held against what is true of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dueq.strategies.timers import ScriptedTimers
from support.world import World


def notes_at_fault(world: World, queues: Iterable[str]) -> list[str]:
    """What is wrong with the notes of which queues have work: empty if nothing is."""
    client, keys = world.redis, world.keys
    faults = []
    for queue in queues:
        busy = client.zscore(keys.plain("busy"), queue) is not None
        if client.llen(keys.of("ready", queue)) and not busy:
            faults.append(f"{queue} has tasks ready and is not among the busy ones")
        if client.llen(keys.of("bell", queue)) and not busy:
            faults.append(f"{queue} is rung for and is not among the busy ones")
        faults += _head_at_fault(world, queue)
    return faults


def _head_at_fault(world: World, queue: str) -> list[str]:
    """A dispatcher comes when the first task is due, not later; and not earlier, once it has been there."""
    if not isinstance(world.strategy, ScriptedTimers):
        return []
    [first] = world.strategy.first_due([queue])
    head: Any = world.redis.zscore(world.keys.heads(world.strategy.name), queue)
    return [] if head == first else [f"the first task of {queue} is due at {first}, and noted is {head}"]
