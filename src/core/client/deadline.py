"""The time until which one call of an application may wait for Redis, over all its commands and connections.

The call sets it when it begins, and each wait reads it. Without one (workers, dispatchers, commands that block in the
server) the time-outs of the connections hold.
"""

from __future__ import annotations

import threading
import time

from redis.exceptions import TimeoutError


class _Deadline(threading.local):
    until: float | None = None  # monotonic seconds


_deadline = _Deadline()


class within:  # used like a function, see failures.explained
    """All waits for Redis inside the ``with`` take at most ``seconds`` together, and end with an outer deadline."""

    __slots__ = ("_outer", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._outer: float | None = None

    def __enter__(self) -> None:
        self._outer = _deadline.until
        until = time.monotonic() + self._seconds
        _deadline.until = until if self._outer is None else min(until, self._outer)

    def __exit__(self, *_: object) -> None:
        _deadline.until = self._outer


def is_set() -> bool:
    """Whether there is a deadline here."""
    return _deadline.until is not None


def left(patience: float) -> float:
    """Seconds that a wait may take now: until the deadline, or ``patience`` if there is none. Raises TimeoutError."""
    if _deadline.until is None:
        return patience
    seconds = _deadline.until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("Redis has not answered in the time that this call has (redis_timeout)")
    return seconds
