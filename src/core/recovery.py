"""Gives back what dead workers held, at once, or as soon as Redis lets us."""

from __future__ import annotations

import logging
from collections import deque

from .clock import now_us
from .connection import TRANSIENT, Patience, redact
from .namespace import Namespace
from .telemetry import Telemetry

log = logging.getLogger("dueq.supervisor")


class Recovery:
    """The claims of dead workers, waiting to be given back."""

    def __init__(self, namespace: Namespace, telemetry: Telemetry, max_losses: int) -> None:
        self._namespace, self._telemetry, self._max_losses = namespace, telemetry, max_losses
        self._dead: deque[tuple[str, int, int]] = deque()
        self._patience = Patience()

    def add(self, worker: str, *, blame: bool = True) -> None:
        """A worker is gone, however it ended: one that leaves in order holds nothing.

        What it was running is to ``blame``, unless the worker was told to stop.
        """
        self._dead.append((worker, self._max_losses if blame else 0, now_us()))

    def run_once(self) -> float | None:
        """Give back what is waiting; returns seconds until to try again, None if nothing waits."""
        try:
            while self._dead:
                self._give_back(*self._dead[0])
                self._dead.popleft()
                self._patience.succeeded()
        except TRANSIENT as error:
            if self._patience.failures == 0:
                log.warning("what %s held cannot be given back yet: %s", self._dead[0][0], redact(str(error)))
            return self._patience.failed()
        return None

    def _give_back(self, worker: str, most_losses: int, died_us: int) -> None:
        store = self._namespace.store
        # the death was seen on this host's clock; the record keeps Redis's
        since = max(0, store.time_us() - (now_us() - died_us))
        lost = store.give_back(worker, "worker_lost", most_losses, since)
        self._telemetry.finished_dead(lost)
        for claim in lost:
            if claim.how == "dead":
                log.error("task %s was running when its worker died, too many times now: it is a dead letter", claim.id)
        if lost:
            log.info("gave back %d tasks of %s", len(lost), worker)
