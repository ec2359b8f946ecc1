"""The scenarios by name: the fault, the expectation, and the function that plays each."""

from __future__ import annotations

from . import backlog, power, processes, servers, surroundings
from .base import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        processes.WORKER_KILL,
        processes.DISPATCHER_KILL,
        processes.SUPERVISOR_KILL,
        processes.HOST_LOSS,
        processes.ZOMBIE,
        servers.REDIS_RESTART,
        servers.REDIS_FAILOVER,
        power.POWER_CUT,
        servers.REDIS_AMNESIA,
        surroundings.NETWORK,
        surroundings.CLOCK,
        processes.POISON,
        servers.FULL,
        processes.STORM,
        backlog.BACKLOG,
    )
}
