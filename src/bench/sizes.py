"""How much each suite does: in full, and in about a tenth of the time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers are numbers of tasks, unless their names or docstrings say otherwise; names in ``_s`` are seconds."""

    floor_rounds: int
    """How many wake-ups a floor is measured from; of round trips it is five times as many."""
    benchmark_requests: int
    """Requests of one run of redis-benchmark."""
    lateness: int
    burst: int
    throughput: int
    one_by_one: int
    bulk: int
    idle_s: float
    memory: int
    pending: tuple[int, ...]
    """The numbers of pending tasks that ``scale`` compares, the fewest first."""
    probes: int
    """How many tasks ``scale`` runs beside each number of pending tasks."""
    fill_s: float
    """How long ``scale`` may take to schedule pending tasks; after that it goes on with fewer, and says so."""
    dispatched: int
    dispatchers: tuple[int, ...]
    """The numbers of dispatchers that are compared."""
    kills: int
    starts: int
    """How many times an engine is started, for the time to its first task."""
    outages: int
    """How many times a whole engine is killed."""
    cut_short: int
    """How many tasks each such engine has."""


FULL = Sizes(
    floor_rounds=300,
    benchmark_requests=50_000,
    lateness=2_000,
    burst=5_000,
    throughput=10_000,
    one_by_one=2_000,
    bulk=30_000,
    idle_s=60.0,
    memory=100_000,
    pending=(1_000, 100_000, 1_000_000),
    probes=500,
    fill_s=110.0,
    dispatched=10_000,
    dispatchers=(1, 2, 4, 8),
    kills=30,
    starts=10,
    outages=5,
    cut_short=200,
)

QUICK = Sizes(
    floor_rounds=50,
    benchmark_requests=5_000,
    lateness=150,
    burst=500,
    throughput=1_000,
    one_by_one=200,
    bulk=2_000,
    idle_s=4.0,
    memory=10_000,
    pending=(100, 1_000, 10_000),
    probes=50,
    fill_s=30.0,
    dispatched=1_000,
    dispatchers=(1, 2),
    kills=3,
    starts=2,
    outages=1,
    cut_short=40,
)
