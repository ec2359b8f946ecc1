"""A loop that survives failures of Redis: it logs a failure once, waits longer each time, and goes on."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Protocol, Self

from redis.exceptions import ResponseError

from .failures import TRANSIENT, Patience, described

_MOST_SAID = 8
"""Lines in the log about one trouble, at most."""
_TRIAL_S = 1.0


class Observer(Protocol):
    """What watches a loop; ``recorder.Telemetry`` is one."""

    def turn(self, sleeps: float = 0.0) -> None:
        """The loop begins a turn."""

    def refused(self, loop: object, refuses: bool) -> None:
        """Redis refuses what ``loop`` needs, or does not refuse it any more."""


class RetryLoop:
    """The turns of one loop. Each is a ``with`` block, which an error of Redis ends, but not the loop::

        with loop.turn("step"):
            ...
            loop.then("sleep")
            ...
        if loop.pause:
            ...  # it failed: wait that many seconds before the next turn

    A turn has parts, such as a step and the sleep after it. After a lost connection, the trouble is over with the next
    part that goes well. After a refusal, the trouble is over only when the refused part itself goes well: otherwise
    each turn would begin the row of pauses anew.
    """

    def __init__(self, log: logging.Logger, observer: Observer, *, first: float = 0.05, most: float = 1.0) -> None:
        """Pauses grow from ``first`` to ``most`` seconds."""
        self._log, self._observer = log, observer
        self._patience = Patience(first, most)
        self._part, self._settles = "", True
        self._refused: set[str] = set()  # parts
        self._said: set[str] = set()
        self.pause = 0.0
        """Seconds to wait after the last turn; 0: it went well."""
        self.error: Exception | None = None
        """What ended the last turn that failed."""

    def turn(self, part: str = "", *, settles: bool = True) -> Self:
        """Begin a turn with ``part``. Without ``settles``, only a call of ``passed`` ends trouble, not a turn that goes
        well."""
        self._observer.turn()
        self._part, self._settles, self.pause = part, settles, 0.0
        return self

    def then(self, part: str) -> None:
        """The part of the turn so far went well; the next one begins."""
        if self._patience.failures:
            self.passed()
        self._part = part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if error is None:
            if self._patience.failures and self._settles:
                self.passed()
            return False
        if not isinstance(error, TRANSIENT):
            return False
        self._failed(error)
        return True

    def passed(self) -> None:
        """The part under way went well."""
        if not self._patience.failures:
            return
        self._refused.discard(self._part)
        if self._refused:
            return
        self._said.clear()
        self._observer.refused(self, False)
        self._patience.succeeded()
        self._log.info("Redis is back")

    def allowed(self, seconds: float) -> float:
        """How long a sleep of ``seconds`` may be: short while something is refused, to see soon whether it still is."""
        return min(seconds, _TRIAL_S) if self._refused else seconds

    def _failed(self, error: Exception) -> None:
        refuses = isinstance(error, ResponseError)
        if refuses:
            self._refused.add(self._part)
        said = described(error)
        about = said if refuses else ""  # how a connection fails changes from try to try
        if about not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(about)
            self._log.warning("Redis trouble, trying again: %s", said)
        self._observer.refused(self, bool(self._refused))
        self.error, self.pause = error, self._patience.failed()
