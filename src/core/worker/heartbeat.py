"""A worker's sign of life while a task has the main thread. If this thread gets to run, the others do, too."""

from __future__ import annotations

import threading

from ..telemetry.counters import Counters


class Heartbeat:
    """Beats until stopped. It never talks to Redis: a Redis that does not answer must not look like a hung worker."""

    def __init__(self, counters: Counters, lease: float) -> None:
        self._counters, self._period = counters, min(1.0, lease / 10)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._counters.beat()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._period):
            self._counters.beat()
