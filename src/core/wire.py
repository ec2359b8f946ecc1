"""A connection on which commands are sent at once and answered later.

redis-py's pipeline keeps commands until it is executed; here each is on its way when ``send`` returns, and answers are
read, in order, whenever it suits. Only redis-py's connection is used: what ``execute_command`` does around it, pools,
events and retries, costs more than the command.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.exceptions import ConnectionError, ResponseError

from .stop import readable


class Wire:
    """Used by one thread at a time. Raises redis-py's errors, and is closed after any but an answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._socket: Any = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def send(self, *command: Any) -> None:
        """Send a command of text, bytes and numbers, connecting first if need be."""
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
                self._socket = self._connection._sock
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
            return self._connection.read_response()
        except ResponseError:
            raise
        except BaseException:
            self.close()
            raise

    def readable(self, seconds: float, *also: int) -> bool:
        """Wait at most ``seconds`` for an answer, or until one of the descriptors ``also`` is readable; True if it is
        an answer."""
        socket = self._connection._sock  # redis-py has no public way to wait on a connection from outside
        if socket is None:
            self.close()
            raise ConnectionError("the connection was closed meanwhile")
        if getattr(socket, "pending", lambda: 0)():  # TLS: already decrypted
            return True
        own = socket.fileno()
        return own in readable([own, *also], seconds)

    def close(self) -> None:
        """Close the connection, and forget what was not answered; the next command opens another."""
        connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)
