"""Soft timeouts: an exception inside a task that runs too long. (Hard ones are the supervisor's: see ``watchdog``.)"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from .errors import TaskTimeout


class Alarm:
    """Runs functions in the main thread with a bound on their time. Uses SIGALRM, so a task must not."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._armed = self._installed = False

    def run(
        self, seconds: float | None, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Call ``function``; after ``seconds`` TaskTimeout is raised in it, once. It may clean up, or ignore it.

        A system call is interrupted; C code that does not return to Python is not.
        """
        if seconds is None:
            function(*args, **kwargs)
            return
        returned = False
        try:
            self._arm(seconds)
            try:
                function(*args, **kwargs)
                returned = True
            finally:
                self._disarm()
        except TaskTimeout:
            if not returned:  # else it went off between the function's end and the disarming
                raise

    def _arm(self, seconds: float) -> None:
        if not self._installed:
            signal.signal(signal.SIGALRM, self._ring)
            self._installed = True
        self._seconds, self._armed = seconds, True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _disarm(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise TaskTimeout(f"the task ran longer than its soft timeout of {self._seconds:g} s")
