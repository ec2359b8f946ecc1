"""Several dispatchers on one namespace: how often they undo each other's work, and whether more of them are faster."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ...admin.housekeeping import purge
from ...core.clock import US
from ..figures import Figure
from ..floors import Rate
from ..place import Place
from ..tasks import QUEUE, mark
from ..work import CHUNK, STALLED_S, Found, task_id

# tasks are scheduled this many seconds before they are due, one more for each 3,000 tasks, and more for each process;
# a dispatcher that is not ready by then is not measured
_LEAD_S, _LEAD_RATE, _BOOT_S = 5.0, 3000.0, 0.8
_POLL_S = 0.002
_SETTLE_S = 0.3  # time for a second copy of a task to show up
_PIPELINE = 16
_AT = "dispatchers"


def play(place: Place) -> Found:
    """There is no worker, so a task stays ready, and counts as finished. A task that is ready twice is a duplicate."""
    found = Found()
    piped = place.floors.benchmark(1, _PIPELINE)
    for number in place.sizes.dispatchers:
        _dispatched(place, number, piped, found)
        purge(place.space)
    return found


def _dispatched(place: Place, dispatchers: int, piped: Rate, found: Found) -> None:
    count = place.sizes.dispatched
    due_us = place.full_second_in(_LEAD_S + count / _LEAD_RATE + dispatchers * _BOOT_S)
    # before the dispatchers start: a new task wakes only one dispatcher, and the others would not know its due time
    for at in range(0, count, CHUNK):
        some = range(at, min(at + CHUNK, count))
        place.producer.schedule_many(mark.call_at(due_us / US, id=task_id(n))(n) for n in some)
    with place.engine(workers=0, dispatchers=dispatchers) as host:
        early = place.ready() if place.now_us() < due_us else 0
        took_s = _until_ready(place, count, due_us, f"{dispatchers} dispatchers")
        time.sleep(_SETTLE_S)
    copies = _copies(place)
    found.scheduled += count
    found.finished += len(copies)
    found.early += early
    found.note_end(host)
    found.duplicates["dispatch"] += sum(copies.values()) - len(copies)
    woken = sum(host.page.total("dueq_dispatch_wakeups_total", reason=reason) for reason in ("due", "event"))
    if woken < dispatchers:  # late to boot, perhaps
        found.notes.append(f"dispatchers: of {dispatchers}, only {woken:.0f} were awake at the instant")
    conflicts = host.page.total("dueq_dispatch_conflicts_total")
    rate = count / took_s if took_s else None
    found.figures += [
        Figure("dispatchers", "made ready", rate, "/s", piped.per_second, piped.name, dispatchers, _AT),
        Figure("dispatchers", "conflicts", conflicts, "", at=dispatchers, at_what=_AT),
    ]


def _until_ready(place: Place, count: int, due_us: int, what: str) -> float | None:
    """Seconds from the due time until all tasks were ready; None if none was made ready for 20 s before that."""
    last, moved_at = 0, time.monotonic()
    while (ready := place.ready()) < count:
        if ready > last or place.now_us() < due_us:
            last, moved_at = ready, time.monotonic()
        elif time.monotonic() - moved_at >= STALLED_S:
            return None
        place.progress(what, ready, count)
        time.sleep(_POLL_S)
    return (place.now_us() - due_us) / US


def _copies(place: Place) -> Counter[bytes]:
    """How often each task is in the ready list."""
    key, found = place.space.keys.of("ready", QUEUE), Counter[bytes]()
    for at in range(0, place.ready(), CHUNK):
        page: Any = place.client.lrange(key, at, at + CHUNK - 1)
        found.update(page)
    return found
