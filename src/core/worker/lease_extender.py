"""Cares for a worker's claims while one of its tasks runs: a thread, since the task has the main one."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

from ..client.failures import TRANSIENT
from ..clock import US
from ..errors import NamespaceTooNew, StrategyMismatch
from ..namespace import Namespace
from ..schema.record import Record
from ..telemetry.logs import about
from .pipeline import ClaimPipeline

log = logging.getLogger("dueq.worker")

_HOLD_S = 0.05
"""How long held tasks wait behind a running one before other workers may have them."""
_REFUSED = (*TRANSIENT, StrategyMismatch, NamespaceTooNew)
"""Errors that any step may raise; none of them may end the thread while a task runs."""


class LeaseExtender:
    """Extends the lease of a task that runs long, and releases the tasks that wait behind it.

    It looks every sixth of the lease, and every 50 ms while anything waits behind a task; it acts on a claim that is
    still there at the second look. So the first extension comes within a third of the lease. If the worker falls
    silent, before or after that, its supervisor notices (after half a lease) before the lease is lost.
    """

    def __init__(self, namespace: Namespace, worker: str, lease: float, pipeline: ClaimPipeline) -> None:
        self._store, self._worker, self._lease, self._pipeline = namespace.store, worker, lease, pipeline
        self._period = min(lease / 6, _HOLD_S)
        self._stopping, self._hurries = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-extender", daemon=True)
        self.running: Record | None = None
        """The task that runs; set to None by the worker when it has ended."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._hurries.set()
        self._thread.join()

    def runs(self, claim: Record) -> None:
        """The worker calls this when a task begins."""
        self.running = claim
        if self._pipeline.loose_ends and not self._hurries.is_set():
            self._hurries.set()

    def _next_look(self) -> bool:
        """Sleep until it is time to look again; False if there will be no more."""
        if self._hurries.wait(self._lease / 6):
            self._stopping.wait(self._period)
        return not self._stopping.is_set()

    def _run(self) -> None:
        seen: Record | None = None
        extended_at = released_at = 0.0
        while self._next_look():
            self._hurries.clear()
            if self._pipeline.loose_ends:
                self._hurries.set()
            running, now = self.running, time.monotonic()
            if running is None:
                seen = None
                continue
            if running is not seen:
                first_s = max(self._period, self._lease / 6)  # until it is extended for the first time
                seen, extended_at, released_at = running, now + first_s - self._lease / 3, now
                continue
            # What fails is tried again at the next look. The worker itself reports that Redis is away, and leaves if
            # another strategy, or a newer dueq, owns the namespace by now; until then its task is to stay its own.
            if now - extended_at >= self._lease / 3 - self._period / 2:
                with suppress(*_REFUSED):
                    self._extend(running)
                    extended_at = now
            with suppress(*_REFUSED):
                self._pipeline.tidy(release=now - released_at >= _HOLD_S)

    def _extend(self, running: Record) -> None:
        [extended] = self._store.extend(self._worker, [running], int(self._lease * US))
        if not extended and self.running is running:
            log.warning(
                "task %s outlived its lease and was given to another worker; its result will be refused",
                running.id,
                extra=about(running),
            )
