"""The suites by name: what each measures, in the order in which they are played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..place import Place
from ..work import Found
from . import burst, dispatchers, idle, lateness, memory, recovery, restart, scale, schedule, startup, throughput


@dataclass(frozen=True, slots=True)
class Suite:
    """One kind of measurement, on a place of its own."""

    name: str
    summary: str
    play: Callable[[Place], Found]


_ALL = (
    Suite("lateness", "2,000 tasks spread over 20 s: how late they are made ready, leased, started", lateness.play),
    Suite("burst", "5,000 tasks due at one instant: how fast two workers start them", burst.play),
    Suite("throughput", "10,000 tasks that do nothing and are ready: how fast two workers do them", throughput.play),
    Suite("schedule", "scheduling from one client, one by one and in bulk", schedule.play),
    Suite("idle", "a minute with one task an hour away: commands and CPU of all processes", idle.play),
    Suite("memory", "100,000 pending tasks of about 100 bytes: memory of Redis and of the processes", memory.play),
    Suite("scale", "lateness and Redis's time a task with 1,000, 100,000, 1,000,000 pending", scale.play),
    Suite("dispatchers", "1, 2, 4, 8 dispatchers, 10,000 tasks due at one instant: rate, conflicts", dispatchers.play),
    Suite("recovery", "SIGKILL of a worker in the middle of a task: how soon it runs again", recovery.play),
    Suite("startup", "dueq run from nothing: how soon its first task starts", startup.play),
    Suite(
        "restart",
        "SIGKILL of all processes in the middle of 200 tasks: how soon they run after a start",
        restart.play,
    ),
)

SUITES = {suite.name: suite for suite in _ALL}
