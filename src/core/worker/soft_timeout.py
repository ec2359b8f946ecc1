"""Soft timeouts: an exception inside a task that runs too long. (Hard ones are the supervisor's: see ``watchdog``.)"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from ..errors import TaskTimeout
from ..process.insistence import Insistence

_AGAIN_S = 0.05  # an alarm just before a call that blocks does not interrupt it: the next one does
_SOON_S = 0.001  # after a finalizer in which a timeout was ignored


class Alarm:
    """Runs functions in the main thread with a bound on their time. It uses SIGALRM, so a task must not."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._armed = False
        self._handler = self._go_off
        self._insistence = Insistence(self._go_off_again)

    def run(
        self, seconds: float | None, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Call ``function``; after ``seconds`` TaskTimeout is raised in it, once. It may clean up, or ignore it.

        Returns what it returns. A system call is interrupted; C code that does not return to Python is not.
        """
        if seconds is None:
            return function(*args, **kwargs)
        returned, result = False, None
        try:
            self._arm(seconds)
            try:
                with self._insistence:
                    result = function(*args, **kwargs)
                    returned = True
            finally:
                self._disarm()
        except TaskTimeout:
            if not returned:  # else it went off between the function's end and the disarming
                raise
        return result

    def _arm(self, seconds: float) -> None:
        signal.signal(signal.SIGALRM, self._handler)  # each time: the last task may have set one of its own
        self._seconds, self._armed = seconds, True
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)

    def _disarm(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def give_up(self) -> None:
        """In a fork: it inherits no timer, so an alarm there is the task's own."""
        self._armed = False
        if signal.getsignal(signal.SIGALRM) is self._handler:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _go_off(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            self._disarm()
            late = TaskTimeout(f"the task ran longer than its soft timeout of {self._seconds:g} s")
            self._insistence.insist(late, frame)

    def _go_off_again(self) -> None:
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, _SOON_S, _AGAIN_S)
