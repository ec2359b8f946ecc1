"""What a task raises to decide itself what becomes of it."""

from __future__ import annotations

from datetime import timedelta

from ..clock import Delay, When, delay_us, due_us
from ..errors import ConfigurationError
from .policy import check_seconds


class Verdict(Exception):
    """What a task decides about itself. Its text is the reason."""


class Bury(Verdict):
    """Make this task a dead letter now, whatever retries are left: ``raise Bury("the card has expired")``."""

    def __init__(self, reason: str = "buried by the task itself") -> None:
        super().__init__(reason)


class RetryIn(Verdict):
    """Try this task again in ``delay`` (seconds or timedelta), instead of when its backoff says.

    It counts as a retry: without any left, the task becomes a dead letter. Raises ConfigurationError for a delay that
    is not above 0 and at most a hundred years.
    """

    def __init__(self, delay: Delay, reason: str = "") -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        self.seconds = check_seconds("RetryIn(…)", seconds)
        super().__init__(reason or "it asked to be tried again")


class Snooze(Verdict):
    """Start this task ``until`` a time at the earliest (an aware datetime or epoch seconds), or ``after`` a delay.

    This start does not count as an attempt, nor as a retry: a task may snooze as often as it likes. A past time means
    now. Raises ConfigurationError unless one of the two is given, and InvalidTask for a time that is none.
    """

    def __init__(self, until: When | None = None, *, after: Delay | None = None, reason: str = "") -> None:
        if (until is None) == (after is None):
            raise ConfigurationError("Snooze takes one time: Snooze(until) or Snooze(after=60)")
        self.due_us = 0 if until is None else due_us(until)
        self.delay_us = 0 if after is None else delay_us(after)
        super().__init__(reason)
