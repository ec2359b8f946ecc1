"""What is kept of queues beside their tasks, held against what is true of them."""

from __future__ import annotations

from collections.abc import Iterable

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
    return faults
