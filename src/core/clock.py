"""Whose time it is: Redis's, in integer microseconds since the epoch, wherever the server can tell it.

Strategies that must run on Redis 2.4, which has no TIME, go by the clock of the host they are on.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import redis

from .errors import InvalidTask, NaiveDatetime

US = 1_000_000
"""Microseconds in a second."""

_FRESH_NS = 1_000_000_000

_LAST_DUE_US = 253_402_300_800 * US  # the end of year 9999: exact in a double, and still a datetime

When = float | datetime
Delay = float | timedelta


def now_us() -> int:
    """This host's clock."""
    return time.time_ns() // 1000


def due_us(when: When) -> int:
    """Epoch microseconds of ``when``: an aware datetime, or epoch seconds.

    Raises NaiveDatetime for a datetime without a zone, InvalidTask for what is no time or out of range.
    """
    if isinstance(when, datetime):
        if when.tzinfo is None or when.utcoffset() is None:
            raise NaiveDatetime(
                f"{when!r} has no time zone, so it names no instant: use datetime.now(UTC) + … or when.astimezone()"
            )
        delta = when - datetime(1970, 1, 1, tzinfo=UTC)
        micros = (delta.days * 86_400 + delta.seconds) * US + delta.microseconds
    else:
        micros = _micros(when, "a due time is an aware datetime or epoch seconds")
    if micros >= _LAST_DUE_US:
        raise InvalidTask(f"{when!r} is past the year 9999: is it in milliseconds? dueq takes epoch seconds")
    return max(0, micros)


def delay_us(delay: Delay) -> int:
    """Microseconds of ``delay``: a timedelta, or seconds; a negative one means now. Raises InvalidTask."""
    if isinstance(delay, timedelta):
        micros = (delay.days * 86_400 + delay.seconds) * US + delay.microseconds
    else:
        micros = _micros(delay, "a delay is a timedelta or seconds")
    if now_us() + micros >= _LAST_DUE_US:
        raise InvalidTask(f"a delay of {delay!r} ends past the year 9999: is it in milliseconds? dueq takes seconds")
    return max(0, micros)


def _micros(value: object, expected: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidTask(f"{expected}, not {value!r}")
    try:
        return round(value * US)
    except (OverflowError, ValueError):
        raise InvalidTask(f"{expected}, not {value!r}") from None


class Clock(ABC):
    """The clock that due times and leases of a namespace are held against."""

    of_server: ClassVar[bool] = False
    """Whether it is Redis's: then it may differ from this host's."""

    @abstractmethod
    def now_us(self) -> int:
        """Epoch microseconds."""


class HostClock(Clock):
    """The clock of this host."""

    def now_us(self) -> int:
        return now_us()


class RedisClock(Clock):
    """Redis's own, for a round trip. Needs Redis 2.6."""

    of_server = True

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def now_us(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds) * US + int(micros)


class ServerClock:
    """Redis's clock as seen from here: moved on by this host's monotonic clock since Redis last told the time.

    A reply's time was read somewhere between sending and receiving. ``latest_us`` counts from the sending, so
    lateness is never flattered; ``earliest_us`` counts from the receiving, so an early start is never excused.
    """

    def __init__(self) -> None:
        self._told_us = 0
        self._sent_ns = self._received_ns = 0

    def told(self, server_us: int, sent_ns: int, received_ns: int) -> None:
        """Note what Redis said, and ``time.monotonic_ns()`` around the question.

        An answer that was long in coming tells less than one of the last second that came sooner, and is left out.
        """
        if received_ns - sent_ns > self._received_ns - self._sent_ns and sent_ns - self._received_ns < _FRESH_NS:
            return
        self._told_us, self._sent_ns, self._received_ns = server_us, sent_ns, received_ns

    def latest_us(self) -> int:
        return self._told_us + (time.monotonic_ns() - self._sent_ns) // 1000

    def earliest_us(self) -> int:
        return self._told_us + (time.monotonic_ns() - self._received_ns) // 1000
