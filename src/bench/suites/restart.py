"""Every process is killed in the middle of many tasks, and ``dueq run`` starts again: how soon these tasks run again.

The time is from when the new engine is ready: its start-up has a suite of its own. A ledger says who ran what.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from ...core.clock import now_us
from ...core.errors import BootFailure
from ...harness.history import UNEXPLAINED
from ...harness.host import Host
from ...harness.stats import quantile
from ...harness.supervised import TARGET
from ..figures import Figure
from ..floors import WAKE_UP
from ..jobs import Jobs
from ..place import Place
from ..work import Found

_WORKERS = 4
_TASK_S = 0.05
_PATIENCE_S = 60.0


def play(place: Place) -> Found:
    """One outage after the other, each in the middle of its own tasks."""
    wake = place.floors.wake_up
    jobs, found, took_ms = Jobs(place), Found(), list[float]()
    for number in range(place.sizes.outages):
        took_ms += _outage(place, jobs, found, f"o{number}")
        place.progress("outages", number + 1, place.sizes.outages)
    book = jobs.book
    found.scheduled, found.finished, found.early = len(jobs.plan), book.finished, book.early
    found.duplicates[UNEXPLAINED] += book.duplicates()[UNEXPLAINED]
    took_ms.sort()
    found.figures += [
        Figure("restart", "run again p50", quantile(took_ms, 0.5), "ms", wake.p99, WAKE_UP),
        Figure("restart", "run again max", quantile(took_ms, 1.0), "ms", wake.p99, WAKE_UP),
    ]
    return found


def _outage(place: Place, jobs: Jobs, found: Found, name: str) -> list[float]:
    """Kill an engine when half of its tasks have run, and start another, which does the rest.

    Returns how many milliseconds after it was ready each task started that had been cut short.
    """
    book, half = jobs.book, len(jobs.plan) + place.sizes.cut_short // 2
    with _engine(place) as host:
        jobs.schedule([f"{name}-{task}" for task in range(place.sizes.cut_short)], _TASK_S)
        _until(jobs, lambda: book.finished >= half and len(book.running) == _WORKERS, "run half of the tasks")
        host.vanish()
        jobs.read()
        cut, killed_us = [*book.running.values()], now_us()
        book.running.clear()
    with _engine(place) as host:
        ready_us = now_us()
        _until(jobs, lambda: not book.lost, "run the tasks that were cut short")
    found.note_end(host)
    again = [book.restarted_after(task_id, killed_us) for task_id in cut]
    return [max(0, killed_us + took - ready_us) / 1000 for took in again if took is not None]


def _engine(place: Place) -> AbstractContextManager[Host]:
    return place.engine(workers=_WORKERS, target=TARGET)


def _until(jobs: Jobs, happened: Callable[[], bool], what: str) -> None:
    if not jobs.until(happened, _PATIENCE_S):
        raise BootFailure(f"dueq run has not {what} after {_PATIENCE_S:.0f} s")
