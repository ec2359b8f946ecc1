"""How soon tasks run again after every process was killed in the middle of them, and ``dueq run`` was started again.

The time counts from when the new engine is ready: its start-up has a suite of its own. The ledger says which task was
running when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from ...core.clock import US, now_us
from ...core.errors import BootFailure
from ...harness.account import Planned
from ...harness.history import UNEXPLAINED, Book
from ...harness.host import Host
from ...harness.job_app import job
from ...harness.ledger import LedgerReader
from ...harness.stats import quantile
from ...harness.supervised import TARGET
from ..figures import Figure
from ..floors import WAKE_UP
from ..place import Place
from ..work import Found

_WORKERS = 4
_TASK_US = 50_000
_PATIENCE_S = 60.0
_POLL_S = 0.002


def play(place: Place) -> Found:
    """One outage after another, each in the middle of its own tasks."""
    wake = place.floors.wake_up
    outages = _Outages(place)
    for number in range(place.sizes.outages):
        outages.one(number)
        place.progress("outages", number + 1, place.sizes.outages)
    book, found = outages.book, outages.found
    found.scheduled, found.finished, found.early = len(outages.plan), book.finished, book.early
    found.duplicates[UNEXPLAINED] += book.duplicates()[UNEXPLAINED]
    took_ms = sorted(took / 1000 for took in outages.took_us)
    found.figures += [
        Figure("restart", "run again p50", quantile(took_ms, 0.5), "ms", wake.p99, WAKE_UP),
        Figure("restart", "run again max", quantile(took_ms, 1.0), "ms", wake.p99, WAKE_UP),
    ]
    return found


class _Outages:
    def __init__(self, place: Place) -> None:
        self._place = place
        self.plan: dict[str, Planned] = {}
        self.book = Book(self.plan, offset_us=place.offset_us)
        self.found = Found()
        self.took_us: list[int] = []
        self._reader = LedgerReader(place.directory)

    def one(self, number: int) -> None:
        """Kill an engine when half of its tasks have run, and start another, which runs the rest."""
        with self._engine() as host:
            first = len(self.plan)
            self._schedule(number)
            half = first + self._place.sizes.cut_short // 2
            self._until(
                lambda: self.book.finished >= half and len(self.book.running) == _WORKERS, "run half of the tasks"
            )
            host.vanish()
            self.book.add(self._reader.read())
            cut, killed_us = [*self.book.running.values()], now_us()
            self.book.running.clear()
        with self._engine() as host:
            ready_us = now_us()
            self._until(lambda: not self.book.lost, "run the tasks that were cut short")
        self.found.note_end(host)
        again = [self.book.restarted_after(task_id, killed_us) for task_id in cut]
        self.took_us += [max(0, killed_us + took - ready_us) for took in again if took is not None]

    def _engine(self) -> AbstractContextManager[Host]:
        return self._place.engine(workers=_WORKERS, target=TARGET)

    def _schedule(self, number: int) -> None:
        due_us = self._place.now_us()
        names = [f"o{number}-{task}" for task in range(self._place.sizes.cut_short)]
        self.plan.update(dict.fromkeys(names, Planned(due_us, _TASK_US)))
        self._place.producer.schedule_many(job.call_at(due_us / US, id=name)(due_us, _TASK_US) for name in names)

    def _until(self, happened: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not happened():
            if time.monotonic() >= deadline:
                raise BootFailure(f"dueq run has not {what} after {_PATIENCE_S:.0f} s")
            time.sleep(_POLL_S)
            self.book.add(self._reader.read())
