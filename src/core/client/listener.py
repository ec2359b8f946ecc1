"""Waiting for a push to a list, with the precision of this host and without polling.

Redis ends a blocking timeout only when its own timer ticks (up to 100 ms late at the default hz), but a push wakes a
blocked client at once. So the command is sent with a long timeout and waited on from outside, with select.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis

from .counting import BLOCKING_S
from .wire import Wire

OVERDUE_S = 5.0
"""If the reply is later than the time-out by more than this, in seconds, the connection counts as dead."""


class Listener:
    """A connection of its own that blocks on lists until a wake-up is pushed to one. Works from Redis 2.0 on."""

    def __init__(self, client: redis.Redis, keys: Sequence[str], *, wakeup_fd: int = -1) -> None:
        """``wakeup_fd``, if given, ends a wait as soon as it is readable (signals); the caller drains it."""
        self._wire, self._keys = Wire(client), list(keys)
        self._wakeup = (wakeup_fd,) if wakeup_fd >= 0 else ()
        self._sent, self._sent_at = False, 0.0

    def wait(self, seconds: float, *also: int) -> bool:
        """Wait at most ``seconds``; True if woken. The request stays open in between, so no wake-up is missed.

        It ends, too, when one of the descriptors ``also`` is readable.
        Raises redis-py's errors if the connection breaks; the next call connects anew.
        """
        deadline = time.monotonic() + seconds
        try:
            while True:
                if self._sent and time.monotonic() - self._sent_at > BLOCKING_S + OVERDUE_S:
                    self.close()
                if not self._sent:
                    self._send()
                left = deadline - time.monotonic()
                if not self._wire.readable(max(0.0, left), *also, *self._wakeup):
                    return False
                self._sent = False
                if self._wire.receive() is not None:
                    return True
        except BaseException:
            self.close()
            raise

    def withdraw(self) -> None:
        """Withdraw the request, so that a wake-up goes to another client.

        Only closing the connection does that for certain; a wake-up already on its way here is lost with it.
        """
        if self._sent:
            self.close()

    def close(self) -> None:
        """Close the connection; the next ``wait`` opens another."""
        self._sent = False
        self._wire.close()

    def _send(self) -> None:
        self._wire.send("BLPOP", *self._keys, BLOCKING_S)
        self._sent, self._sent_at = True, time.monotonic()


def woken(listener: Listener, seconds: float) -> bool:
    """Whether a wake-up comes within ``seconds``. If not, the request is withdrawn: it would swallow a wake-up while
    the worker is busy with what it finds now."""
    if listener.wait(seconds):
        return True
    listener.withdraw()
    return False
