"""A connection on which commands are sent at once and answered later.

redis-py's pipeline keeps commands until it is executed; here each is on its way when ``send`` returns, and answers are
read, in order, whenever it suits. redis-py makes the connection, and its parser reads the answers; what it does around
them, pools, events and retries, costs more than the command.
"""

from __future__ import annotations

from typing import Any

import hiredis
import redis
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError, InvalidResponse, ResponseError

from .stop import readable

_CHUNK = 1 << 16


class Wire:
    """Used by one thread at a time. Raises redis-py's errors, and is closed after any but an answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._socket: Any = None
        self._answers: Any = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def send(self, *command: Any) -> None:
        """Send a command of text, bytes and numbers, connecting first if need be."""
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
                self._socket = self._connection._sock  # redis-py has no public way to it
                self._answers = hiredis.Reader(protocolError=InvalidResponse, replyError=_error)
            self._connection.send_command(*command, check_health=False)
            if self._connection._sock is not self._socket:
                # somebody closed all connections of the pool; redis-py opened this one anew, where nobody will answer
                # what was sent before
                raise ConnectionError("the connection was closed meanwhile")
        except BaseException:
            self.close()
            raise

    def receive(self) -> Any:
        """The answer to the first command that is not answered yet. Raises it, if it is an error."""
        try:
            while (answer := self._answers.gets()) is False:
                if self._connection._sock is not self._socket or not (data := self._socket.recv(_CHUNK)):
                    raise ConnectionError("the connection was closed")
                self._answers.feed(data)
        except BaseException:
            self.close()
            raise
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def readable(self, seconds: float, *also: int) -> bool:
        """Wait at most ``seconds`` for an answer, or until one of the descriptors ``also`` is readable; True if it is
        an answer."""
        if self._connection._sock is not self._socket:
            self.close()
            raise ConnectionError("the connection was closed meanwhile")
        if getattr(self._socket, "pending", lambda: 0)():  # TLS: already decrypted
            return True
        own = self._socket.fileno()
        return own in readable([own, *also], seconds)

    def close(self) -> None:
        """Close the connection, and forget what was not answered; the next command opens another."""
        connection, self._connection, self._socket, self._answers = self._connection, None, None, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)


def _error(text: str) -> Exception:
    error: Exception = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]
    return error
