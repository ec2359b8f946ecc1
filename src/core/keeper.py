"""Keeps a worker's claims in order while a task of its runs: a thread, since the task has the main one."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from .clock import US
from .codec import Record
from .connection import TRANSIENT
from .logs import about
from .namespace import Namespace

log = logging.getLogger("dueq.worker")

_HOLD_S = 0.05
"""How long held tasks wait behind a running one before other workers may have them."""


class Keeper:
    """Extends the lease of a task that runs long, and releases the tasks that wait behind it.

    A task shorter than a sixth of the lease costs it nothing: only a claim that is still there at the second look is
    extended. So the first extension comes within a third of the lease, and a worker that falls silent after that, or
    before, is noticed by its supervisor (after half a lease) before its lease is lost.
    """

    def __init__(self, namespace: Namespace, worker: str, lease: float, *, releases: bool) -> None:
        self._store, self._worker, self._lease = namespace.store, worker, lease
        self._period = min(lease / 6, _HOLD_S) if releases else lease / 6
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._running: Record | None = None
        self._held: Sequence[Record] = ()
        self._released: deque[int] = deque()
        self._settling = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def holding(self, running: Record | None, held: Sequence[Record]) -> None:
        """Told by the worker before it runs a task, and when it has none."""
        self._running, self._held, self._settling = running, held, False

    def settling(self) -> None:
        """Told by the worker when it settles what it ran: that the claim is gone is no news then."""
        self._settling = True

    def released(self) -> set[int]:
        """The tokens of held tasks that were released since the last call: the worker has them no more."""
        tokens = set()
        while self._released:
            tokens.add(self._released.popleft())
        return tokens

    def _run(self) -> None:
        seen: Record | None = None
        extended_at = released_at = 0.0
        while not self._stopping.wait(self._period):
            running, now = self._running, time.monotonic()
            if running is None:
                seen = None
                continue
            if running is not seen:
                first_s = max(self._period, self._lease / 6)  # until it is extended for the first time
                seen, extended_at, released_at = running, now + first_s - self._lease / 3, now
                continue
            try:
                if now - released_at >= _HOLD_S and (held := list(self._held)):
                    self._store.release(self._worker, held)
                    self._released.extend(claim.token for claim in held)
                    released_at = now
                if now - extended_at >= self._lease / 3 - self._period / 2:
                    [kept] = self._store.extend(self._worker, [running], int(self._lease * US))
                    extended_at = now
                    if not kept and self._running is running and not self._settling:
                        log.warning(
                            "task %s outlived its lease and was given to another worker; its result will be refused",
                            running.id,
                            extra=about(running),
                        )
            except TRANSIENT:
                # tried again at the next look; the worker itself reports that Redis is away
                continue
