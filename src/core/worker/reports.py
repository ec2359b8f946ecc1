"""What a worker reports, to the log and to its counters, of claims that did not go the usual way."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from ..schema.record import Record
from ..store.names import NEWER
from ..store.unclaimed import legible
from ..store.values import Aside, Outcome
from ..telemetry.logs import about
from ..telemetry.recorder import WorkerTelemetry

log = logging.getLogger("dueq.worker")

_LOSS_S = 60.0  # a loss of data is logged once: signs of a loss within this time belong to it
_MOST_NAMES = 1000  # names remembered


class Reports:
    """The reports of one worker; a report that would come again and again is logged once."""

    def __init__(self, telemetry: WorkerTelemetry) -> None:
        self._telemetry = telemetry
        self._names: set[str] = set()  # names reported as unknown here
        self._loss_at = -_LOSS_S

    def stale(self, outcome: Outcome, now_us: int) -> None:
        """The outcome was refused, not later than ``now_us``."""
        self._telemetry.stale(outcome, now_us)
        log.warning(
            "task %s, token %s: its result is refused, since another worker took it over (or it was purged)",
            outcome.claim.id,
            outcome.claim.token,
            extra=about(outcome.claim),
        )

    def begun_too_late(self, claim: Record, now_us: int) -> None:
        """The task had begun here before it turned out, not later than ``now_us``, that another worker has it."""
        self._telemetry.begun_too_late(claim, now_us)
        log.warning(
            "task %s, token %s: it began here after it was taken from this worker, which Redis had not heard of lately",
            claim.id,
            claim.token,
            extra=about(claim),
        )

    def lost_data(self) -> None:
        """Redis knows less than it had confirmed to this worker before."""
        if time.monotonic() < self._loss_at + _LOSS_S:
            return
        self._loss_at = time.monotonic()
        log.warning(
            "Redis has lost data that it had confirmed to this worker (a power cut, a failover, eviction or FLUSHALL): "
            "tasks that it forgot will not run, tasks whose end it forgot run again, counted as lease_expired where a "
            "worker remembers the end; see docs/operations.md, When Redis has lost data"
        )

    def put_aside(self, aside: Iterable[Aside], now_us: int) -> None:
        """Tasks were put aside at ``now_us``, since this application does not define their names."""
        self._telemetry.put_aside(aside, now_us)
        for one in aside:
            if one.name not in self._names and len(self._names) < _MOST_NAMES:
                self._names.add(one.name)
                newer = one.name == NEWER
                log.warning(
                    "task %s of queue %s %s: put aside, not started, until a worker comes that knows it (logged once "
                    "for each name)",
                    one.id,
                    one.queue,
                    "was written by a newer dueq" if newer else f"calls {legible(one.name)!r}, not defined here",
                )
