"""Due times, and the clocks that they are compared with, in integer microseconds since the epoch.

The scripted store goes by Redis's clock. The transactional store must run on Redis 2.4, which has no TIME, and goes by
the clock of its host.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from .errors import InvalidTask, NaiveDatetime

if TYPE_CHECKING:
    import redis

US = 1_000_000
"""Microseconds in a second."""

_DRIFTS = 100_000  # a clock drifts by at most one part in this number
_LATE_NS = 1_000_000_000
_FAR_US = 600 * US

LAST_DUE_US = 253_370_764_800 * US  # the beginning of the year 9999: a datetime in every zone, also when rounded up
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

When = float | datetime
Delay = float | timedelta


def now_us() -> int:
    """This host's clock."""
    return time.time_ns() // 1000


def is_far(at_us: int) -> bool:
    """Whether ``at_us`` is over ten minutes ahead by this host's clock: then there is no need to read Redis's."""
    return at_us > now_us() + _FAR_US


def due_us(when: When) -> int:
    """Epoch microseconds of ``when``: an aware datetime, or epoch seconds.

    Raises NaiveDatetime for a datetime without a zone, InvalidTask for any other value and for a time out of range.
    """
    if isinstance(when, datetime):
        if when.tzinfo is None or when.utcoffset() is None:
            raise NaiveDatetime(
                f"{when!r} has no time zone, so it names no instant: use datetime.now(UTC) + … or when.astimezone()"
            )
        delta = when - _EPOCH
        micros = (delta.days * 86_400 + delta.seconds) * US + delta.microseconds
    else:
        micros = _micros(when, "a due time is an aware datetime or epoch seconds")
    if micros >= LAST_DUE_US:
        raise InvalidTask(f"{when!r} is past the year 9998: is it in milliseconds? dueq takes epoch seconds")
    return max(0, micros)


def delay_us(delay: Delay) -> int:
    """Microseconds of ``delay``: a timedelta, or seconds; a negative one means now. Raises InvalidTask."""
    if isinstance(delay, timedelta):
        micros = (delay.days * 86_400 + delay.seconds) * US + delay.microseconds
    else:
        micros = _micros(delay, "a delay is a timedelta or seconds")
    if now_us() + micros >= LAST_DUE_US:
        raise InvalidTask(f"a delay of {delay!r} ends past the year 9998: is it in milliseconds? dueq takes seconds")
    return max(0, micros)


def datetime_of(micros: int) -> datetime:
    """Epoch microseconds as a datetime (UTC); the last possible datetime if later, so that any record can be shown."""
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _micros(value: object, expected: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidTask(f"{expected}, not {value!r}")
    try:
        return round(value * US)
    except (OverflowError, ValueError):
        raise InvalidTask(f"{expected}, not {value!r}") from None


class Clock(ABC):
    """The clock that due times and leases of a namespace are compared with."""

    of_server: ClassVar[bool] = False
    """Whether this is Redis's clock, which may differ from this host's."""

    @abstractmethod
    def now_us(self) -> int:
        """Epoch microseconds."""


class HostClock(Clock):
    """The clock of this host."""

    def now_us(self) -> int:
        return now_us()


class RedisClock(Clock):
    """Redis's clock; each reading costs a round trip. Needs Redis 2.6."""

    of_server = True

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def now_us(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds) * US + int(micros)


class ServerClock:
    """Redis's clock as seen from here: this host's monotonic clock, and how far Redis's is ahead of it, within bounds.

    Redis reads its clock somewhere between the sending of a request and the arrival of the reply, so each reply bounds
    the difference from both sides. The tightest bounds count. They widen as time goes by, since clocks drift (the idea
    is NTP's). ``latest_us`` uses the upper bound, so lateness is never flattered. ``earliest_us`` uses the lower bound,
    so an early start is never excused.
    """

    def __init__(self) -> None:
        self._low_ns = self._high_ns = self._at_ns = 0
        self._narrowed_ns: int | None = None

    @property
    def age_s(self) -> float:
        """Seconds since a reply last came fast enough to narrow the bounds; infinite if none has."""
        return math.inf if self._narrowed_ns is None else (time.monotonic_ns() - self._narrowed_ns) / 1e9

    def observe(self, server_us: int, sent_ns: int, received_ns: int) -> None:
        """Note the time in a reply of Redis, and ``time.monotonic_ns()`` before the request and after the reply.

        A reply that is older than the last one noted is left out.
        """
        if received_ns < self._at_ns:
            return
        low, high = server_us * 1000 - received_ns, server_us * 1000 - sent_ns
        drift = (received_ns - self._at_ns) // _DRIFTS
        known_low, known_high = self._low_ns - drift, self._high_ns + drift
        if self._narrowed_ns is None or low > known_high or high < known_low:
            # this is the first reply, or a clock was set: only this reply counts, even if it took long
            known_low, known_high = low, high if high - low < _LATE_NS else low
            self._narrowed_ns = received_ns
        elif high <= known_high:
            self._narrowed_ns = received_ns
        self._low_ns, self._high_ns, self._at_ns = max(low, known_low), min(high, known_high), received_ns

    def latest_us(self) -> int:
        now = time.monotonic_ns()
        return (self._high_ns + now + (now - self._at_ns) // _DRIFTS) // 1000

    def earliest_us(self) -> int:
        now = time.monotonic_ns()
        return (self._low_ns + now - (now - self._at_ns) // _DRIFTS) // 1000
