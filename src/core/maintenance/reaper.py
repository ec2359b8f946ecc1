"""The reaper: takes back leases that ran out, all that silent workers hold, and what dispatchers left half done."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

from ..client.retry_loop import RetryLoop
from ..clock import US
from ..namespace import Namespace
from ..store.values import Loss, Reaped
from ..telemetry.recorder import Telemetry
from ..upkeep.audit_times import request_audit

log = logging.getLogger("dueq.reaper")

_BATCH = 100


_SET_S = 0.1  # a clock that was set has jumped by more than this


class _Reading(NamedTuple):
    """Redis's clock in epoch microseconds, and this host's monotonic one before the request and after the reply."""

    now_us: int
    sent: float
    received: float


class Reaper:
    """Sleeps until the next lease runs out. ``run_once`` takes one step and says when to take the next."""

    def __init__(self, namespace: Namespace, telemetry: Telemetry, *, lease: float, max_losses: int = 3) -> None:
        self._namespace = namespace
        self._store, self._strategy, self._telemetry = namespace.store, namespace.strategy, telemetry
        self._lease, self._max_losses = lease, max_losses
        self._loop = RetryLoop(log, telemetry)
        self._last: _Reading | None = None

    def run_once(self) -> float:
        """Take back what has run out; returns how many seconds to sleep.

        A lease that begins from now on runs out one lease from now at the earliest. So a sleep until then, or until the
        first present lease runs out, misses none.
        """
        with self._loop.turn():
            return self._reap()
        return self._loop.pause

    def _reap(self) -> float:
        latest_us, sent = self._latest_us(), time.monotonic()
        reaped = self._store.reap(_BATCH, int(self._lease * US), self._max_losses, latest_us)
        before, self._last = self._last, _Reading(reaped.now_us, sent, time.monotonic())
        if before is not None and 0 < latest_us < reaped.now_us:
            log.warning(
                "%s: leases are left alone for %.1f s, so that their owners can extend them",
                _what_happened(before, self._last),
                self._lease,
            )
            return self._lease
        if self._take_back(reaped) + self._recover_dispatchers():
            request_audit(self._namespace)
        if reaped.next_us is None:
            return self._lease
        return min(self._lease, max(0.0, (reaped.next_us - reaped.now_us) / US + 0.001))

    def _take_back(self, reaped: Reaped) -> int:
        """Returns how many tasks can run again, or were buried."""
        taken_back = len(reaped.lost)
        for claim in reaped.lost:
            log.warning("the lease of task %s ran out: it can run again", claim.id, extra={"task_id": claim.id})
        self._telemetry.lost(reaped.lost, reaped.now_us, "lease_expired")
        for worker in reaped.silent_workers:
            since_us = reaped.now_us - int(self._lease * US)
            lost = self._store.give_back(Loss(worker, "lease_expired", self._max_losses, since_us))
            self._telemetry.lost(lost, reaped.now_us, "lease_expired", "has gone silent", worker)
            taken_back += len(lost)
            if lost:
                log.warning("worker %s has gone silent: %d tasks it held can run again", worker, len(lost))
        return taken_back

    def _recover_dispatchers(self) -> int:
        # a dispatcher's work takes moments; half a lease, since the reaper looks only once a lease if all is quiet
        if moved := self._strategy.recover(silent_for=self._lease / 2):
            log.warning("made %d tasks ready that a dispatcher, gone or standing still, had in hand", moved)
        return moved

    def _latest_us(self) -> int:
        # a step of the server's clock would end every lease at once although no owner is late
        if self._last is None:
            return 0
        return self._last.now_us + int((time.monotonic() - self._last.received + self._lease / 2) * US)


def _what_happened(before: _Reading, now: _Reading) -> str:
    """Why Redis's clock is so far ahead of the time that passed here until the last request was sent."""
    if (now.now_us - before.now_us) / US <= now.received - before.sent + _SET_S:
        return f"Redis stood still for {now.received - now.sent:.1f} s"
    return "Redis's clock jumped ahead"
