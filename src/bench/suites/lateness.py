"""How late tasks are made ready, leased and started when workers are free, at a hundred tasks a second.

The tasks themselves record *started*, outside of dueq. *Ready* (a dispatcher moved the task) and *leased* (a worker
took it) happen inside dueq, so they come from its journal, to the microsecond.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ...core.clock import US
from ...core.schema.journal import all_events
from ...harness.stats import QUANTILES, quantile
from ..figures import Figure
from ..floors import WAKE_UP
from ..place import Place
from ..redis_cost import spent
from ..work import Found, Work, task_id

RATE = 100.0
"""Tasks a second."""

_LEAD_S = 1.0


def play(place: Place) -> Found:
    """Two workers, one dispatcher, tasks that do nothing."""
    count = place.sizes.lateness
    work = Work(place)
    floors = place.floors
    floors.wake_up  # noqa: B018  # measured before the engine runs
    with place.engine() as host:
        before = spent(place.client)
        work.schedule(even_times(place.now_us() + round((_LEAD_S + count / 5000) * US), count))
        work.wait()
        cost = spent(place.client).since(before)
    found = work.judge(host)
    found.lateness_us = sorted(work.lateness_us())
    stages = stages_us(place, work)
    for stage, late in stages.items():
        if len(late) < count:
            found.notes.append(f"lateness: the journal knows when {len(late)} of {count} tasks were {stage}")
    for stage, late in {**stages, "started": found.lateness_us}.items():
        found.figures += spread("lateness", stage, late, place)
    found.commands_per_task = round(cost.commands / count, 3)
    found.figures.append(Figure("lateness", "commands a task", cost.commands / count, ""))
    found.figures.append(Figure("lateness", "Redis time a task", cost.time_us / count, "µs"))
    found.notes.append(f"Redis time is that of {cost.time_of}; commands include those that scripts call")
    return found


def even_times(first_us: int, count: int) -> list[int]:
    """Due times, ``RATE`` a second, each moved by up to half of the distance, so that no timer is in step with them."""
    chance = random.Random(1)
    return [first_us + round((number + chance.uniform(0, 0.5)) / RATE * US) for number in range(count)]


def stages_us(place: Place, work: Work) -> dict[str, list[int]]:
    """Lateness of each task when it was made ready and when it was leased, in order. To be called after dueq ended."""
    due_us = {task_id(number): due for number, due in enumerate(work.due_us)}
    late: dict[str, dict[str, int]] = {"ready": {}, "leased": {}}
    for event in all_events(place.client, place.space.keys):
        if event.id not in due_us:
            continue
        if event.kind == "ready":
            # by the strategy's clock; lateness counts from the due time before any rounding, as everywhere
            late["ready"][event.id] = event.facts.get("late_us", 0)
        elif event.kind == "started":
            late["leased"][event.id] = event.at_us - due_us[event.id]
    return {stage: sorted(by_task.values()) for stage, by_task in late.items()}


def spread(suite: str, what: str, ordered_us: Sequence[int], place: Place, pending: int | None = None) -> list[Figure]:
    """p50, p95, p99 and max of ``ordered_us`` in milliseconds, beside the wake-up's p50 and p99."""
    wake = place.floors.wake_up
    floors = {"p50": wake.p50, "p99": wake.p99}
    figures = []
    for name, q in QUANTILES.items():
        value = quantile(ordered_us, q)
        late_ms = None if value is None else value / 1000
        figures.append(
            Figure(suite, f"{what} {name}", late_ms, "ms", floors.get(name), WAKE_UP, at=pending, at_what="pending")
        )
    return figures
