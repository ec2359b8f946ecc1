"""Jobs whose story a ledger tells: which process ran what, and when. For suites that kill processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..core.clock import US
from ..harness.account import Planned
from ..harness.history import Book
from ..harness.job_app import job
from ..harness.ledger import LedgerReader
from .place import Place

_POLL_S = 0.002


class Jobs:
    """The jobs of one suite, in the application ``harness.supervised.TARGET``."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.plan: dict[str, Planned] = {}
        self.book = Book(self.plan, offset_us=place.offset_us)
        self._reader = LedgerReader(place.directory)

    def schedule(self, names: Sequence[str], duration_s: float) -> None:
        """Schedule jobs with these ids, due now."""
        planned = Planned(self._place.now_us(), round(duration_s * US))
        self.plan.update(dict.fromkeys(names, planned))
        due_us, duration_us = planned.due_us, planned.duration_us
        self._place.producer.schedule_many(job.call_at(due_us / US, id=name)(due_us, duration_us) for name in names)

    def read(self) -> None:
        """Enter into the book what has happened."""
        self.book.add(self._reader.read())

    def until(self, happened: Callable[[], bool], patience_s: float) -> bool:
        """Read until this has happened; False if it has not after ``patience_s`` seconds."""
        deadline = time.monotonic() + patience_s
        while not happened():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
            self.read()
        return True
