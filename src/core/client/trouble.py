"""What a long-lived loop does when Redis fails it: say so once, wait longer each time, and go on."""

from __future__ import annotations

import logging
from typing import Protocol

from redis.exceptions import ResponseError

from .connection import Patience, described

_MOST_SAID = 8
"""Most lines of one trouble."""


_TRIAL_S = 1.0


class Observer(Protocol):
    """Who is told whether Redis refuses what a loop needs; ``recorder.Telemetry`` is one."""

    def refused(self, loop: object, refuses: bool) -> None:
        """Redis refuses what ``loop`` needs, or does so no more."""


class Trouble:
    """The failures of one loop.

    A turn has parts, such as a step and the sleep after it. Redis being away ends with the next part that goes well; a
    part that is refused is in trouble until it goes well itself, or each turn would begin the row of pauses anew.
    """

    def __init__(self, log: logging.Logger, observer: Observer, *, first: float = 0.05, most: float = 1.0) -> None:
        self._log, self._observer = log, observer
        self._patience = Patience(first, most)
        self._refused: set[str] = set()  # parts
        self._said: set[str] = set()

    def suffered(self, error: Exception, part: str = "") -> float:
        """Note a failure of ``part``; returns how many seconds to wait before the next try."""
        refuses = isinstance(error, ResponseError)
        if refuses:
            self._refused.add(part)
        said = described(error)
        about = said if refuses else ""  # how a connection fails changes from try to try
        if about not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(about)
            self._log.warning("Redis trouble, trying again: %s", said)
        self._observer.refused(self, bool(self._refused))
        return self._patience.failed()

    def sleep(self, seconds: float) -> float:
        """How long a sleep of ``seconds`` may be: short while something is refused, to see soon whether it still is."""
        return min(seconds, _TRIAL_S) if self._refused else seconds

    def passed(self, part: str = "") -> bool:
        """Note that ``part`` went well; True if that ends the trouble."""
        if not self._patience.failures:
            return False
        self._refused.discard(part)
        if self._refused:
            return False
        self._said.clear()
        self._observer.refused(self, False)
        return self._patience.succeeded()
