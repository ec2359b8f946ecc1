"""Whether many pending tasks make due tasks late or expensive: the same probes beside more and more pending tasks."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ...core.clock import US
from ...harness.stats import quantile
from ..figures import Figure
from ..place import Place
from ..redis_cost import spent
from ..work import Found, Work
from .lateness import even_times, spread
from .memory import fill

_LEAD_S = 1.0
_QUIET_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Probed:
    """The lateness of the probes beside ``pending`` pending tasks, in order, and the cost of one (``redis_us``: µs)."""

    pending: int
    late_us: list[int]
    redis_us: float
    commands: float


def play(place: Place) -> Found:
    """All probes run in one namespace, to which pending tasks are added between them."""
    sizes = place.sizes
    work = Work(place)
    probed: list[Probed] = []
    notes = []
    deadline = time.monotonic() + sizes.fill_s
    place.floors.wake_up  # noqa: B018  # measured before the engine runs
    with place.engine() as host:
        pending = 0
        for wanted in sizes.pending:
            pending += fill(place, wanted - pending, within_s=max(0.0, deadline - time.monotonic()))
            if pending < wanted:
                notes.append(f"scale: {pending:,} pending tasks instead of {wanted:,}, for want of time")
            _wait_for_quiet(place)
            probed.append(_probe(place, work, pending))
    found = work.judge(host)
    found.notes += notes
    for one in probed:
        found.figures += spread("scale", "started", one.late_us, place, one.pending)
        for name, value, unit in (("Redis time a task", one.redis_us, "µs"), ("commands a task", one.commands, "")):
            found.figures.append(Figure("scale", name, value, unit, at=one.pending, at_what="pending"))
    found.figures += _compared(probed[0], probed[-1])
    return found


def _probe(place: Place, work: Work, pending: int) -> Probed:
    count = place.sizes.probes
    before = spent(place.client)
    numbers = work.schedule(even_times(place.now_us() + round(_LEAD_S * US), count), "probes")
    work.wait(f"beside {pending:,}")
    cost = spent(place.client).since(before)
    return Probed(pending, sorted(work.lateness_us(numbers)), cost.time_us / count, cost.commands / count)


def _compared(fewest: Probed, most: Probed) -> list[Figure]:
    few, many = quantile(fewest.late_us, 0.99), quantile(most.late_us, 0.99)
    late = many / few if few and many is not None else None
    dear = most.redis_us / fewest.redis_us if fewest.redis_us else None
    return [
        Figure("scale", "started p99, most ÷ fewest pending", late, "×"),
        Figure("scale", "Redis time a task, most ÷ fewest pending", dear, "×"),
    ]


def _wait_for_quiet(place: Place) -> None:
    """Wait until the server has rewritten its append-only file, so that no probe pays for that."""
    deadline = time.monotonic() + _QUIET_S
    while place.info().get("aof_rewrite_in_progress") and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    time.sleep(1.0)  # for the journal's thread, and the processors' caches
