"""The maintenance loop: several jobs of one process, each done when its time has come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from ..process.exit_status import ExitStatus
from ..process.stop import Stop
from ..telemetry.recorder import Telemetry


class MaintenanceJob(Protocol):
    """One job of the loop."""

    def run_once(self) -> float:
        """Take a short step, so that other jobs need not wait; returns seconds until the next."""


class MaintenanceLoop:
    """Sleeps until the next step of one of its jobs. A request to ``stop`` ends it after the step under way."""

    def __init__(self, jobs: Sequence[MaintenanceJob], telemetry: Telemetry, stop: Stop) -> None:
        self._due = dict.fromkeys(jobs, 0.0)  # in monotonic seconds
        self._telemetry, self._stop = telemetry, stop

    def run(self) -> int:
        """Do the jobs until stopped; returns the exit status."""
        while not self._stop.requested:
            job = min(self._due, key=lambda one: self._due[one])
            early = self._due[job] - time.monotonic()
            if early > 0:
                self._telemetry.turn(early)
                self._stop.sleep(early)
                continue
            seconds = job.run_once()
            self._due[job] = time.monotonic() + seconds
        return ExitStatus.STOPPED
