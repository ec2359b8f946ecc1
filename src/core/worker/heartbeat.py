"""A worker's sign of life while a task has its main thread: that this thread gets to run shows that others do."""

from __future__ import annotations

import threading

from ..telemetry.counters import Tally


class Pulse:
    """Beats until stopped. It never talks to Redis: a Redis that does not answer must not look like a hung worker."""

    def __init__(self, tally: Tally, lease: float) -> None:
        self._tally, self._period = tally, min(1.0, lease / 10)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._period):
            self._tally.beat()
