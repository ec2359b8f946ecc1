"""Checks that what Redis notes about queues beside their tasks is true."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dueq.strategies.zset_index import ScriptedTimers
from support.world import World


def notes_at_fault(world: World, queues: Iterable[str]) -> list[str]:
    """What is wrong with the notes about which queues have work, and when; empty if all are right."""
    keys, name = world.keys, world.strategy.name
    noted = isinstance(world.strategy, ScriptedTimers)
    faults: list[str] = []
    names = list(queues)
    pipe: Any = world.redis.pipeline(transaction=False)
    for queue in names:
        pipe.zscore(keys.plain("busy"), queue).llen(keys.of("ready", queue)).llen(keys.of("wakeup", queue))
        pipe.zrange(keys.timer(name, queue), 0, 0, withscores=True).zscore(keys.heads(name), queue)
    replies = pipe.execute()
    for at, queue in enumerate(names):
        busy, ready, rings, first, head = replies[5 * at : 5 * at + 5]
        if ready and busy is None:
            faults.append(f"{queue} has tasks ready and is not among the busy ones")
        if rings and busy is None:
            faults.append(f"{queue} has wake-ups and is not among the busy ones")
        if noted and head != (first[0][1] if first else None):
            faults.append(f"the first task of {queue} is {first}, and noted is {head}")
    return faults
