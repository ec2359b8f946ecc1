"""Waiting for a push to a list, with the precision of this host and without polling.

Redis ends a blocking timeout only when its own timer ticks (up to 100 ms late at the default hz), but a push wakes a
blocked client at once. So the command is sent with a long timeout and waited on from outside, with select.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis

from .connection import BLOCKING_S
from .stop import readable

_OVERDUE_S = 5.0


class Doorbell:
    """A connection of its own that blocks on lists until one of them is rung. Works from Redis 2.0 on."""

    def __init__(self, client: redis.Redis, keys: Sequence[str], *, wakeup_fd: int = -1) -> None:
        """``wakeup_fd``, if given, ends a wait as soon as it is readable (signals); the caller drains it."""
        self._pool, self._keys, self._wakeup_fd = client.connection_pool, list(keys), wakeup_fd
        self._connection: Any = None
        self._asked, self._asked_at = False, 0.0

    def wait(self, seconds: float, *also: int) -> bool:
        """Wait at most ``seconds``; True if rung. The request stays open in between, so no ring is missed.

        It ends, too, when one of the descriptors ``also`` is readable.
        Raises redis-py's errors if the connection breaks; the next call connects anew.
        """
        deadline = time.monotonic() + seconds
        try:
            while True:
                if self._asked and time.monotonic() - self._asked_at > BLOCKING_S + _OVERDUE_S:
                    self.close()  # Redis would have answered by now: the connection is dead, though nobody told us
                if not self._asked:
                    self._ask()
                left = deadline - time.monotonic()
                if not self._readable(max(0.0, left), also):
                    return False
                self._asked = False
                if self._connection.read_response() is not None:
                    return True
        except BaseException:
            self.close()
            raise

    def hang_up(self) -> None:
        """Withdraw the request, so that a ring goes to somebody else.

        Only closing the connection does that for certain; a ring already on its way here is lost with it.
        """
        if self._asked:
            self.close()

    def close(self) -> None:
        """Close the connection; the next ``wait`` opens another."""
        connection, self._connection, self._asked = self._connection, None, False
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def _ask(self) -> None:
        if self._connection is None:
            self._connection = self._pool.get_connection()
        self._connection.send_command("BLPOP", *self._keys, BLOCKING_S)
        self._asked, self._asked_at = True, time.monotonic()

    def _readable(self, seconds: float, also: tuple[int, ...]) -> bool:
        socket = self._connection._sock  # redis-py has no public way to wait on a connection from outside
        if getattr(socket, "pending", lambda: 0)():  # TLS: already decrypted
            return True
        own = socket.fileno()
        others = also if self._wakeup_fd < 0 else (*also, self._wakeup_fd)
        return own in readable([own, *others], seconds)
