"""Connections on which commands are sent at once and answered later.

redis-py's pipeline keeps commands until it is executed; here each is on its way when ``send`` returns, and answers are
read, in order, whenever it suits. redis-py makes the connection, and its parser reads the answers; what it does around
them, pools, events and retries, costs more than the command.
"""

from __future__ import annotations

import os
import select
import socket
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import redis
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError, InvalidResponse, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as ReplyTimeout

from .deadline import is_set, left
from .stop import readable

_CHUNK = 1 << 16


class Wire:
    """Used by one thread at a time. Raises redis-py's errors, and is closed after any but an answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._socket: Any = None
        self._answers: Any = None
        self._poll = select.poll()  # of the socket, so that looking whether it is fresh costs little

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def is_fresh(self) -> bool:
        """Whether it is open, and nothing was heard since the last answer, nor that the other side closed it."""
        return self._connection is not None and self._connection._sock is self._socket and not self._poll.poll(0)

    def send(self, *command: Any) -> None:
        """Send a command of text, bytes and numbers, connecting first if need be."""
        try:
            if self._connection is None:
                self._connection = self._pool.get_connection()
                self._socket = self._connection._sock  # redis-py has no public way to it
                self._poll = select.poll()
                self._poll.register(self._socket, select.POLLIN)
                _send_at_once(self._connection)
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
                if self._connection._sock is not self._socket:
                    raise ConnectionError("the connection was closed")
                patience = self._connection.patience
                if patience and not self._poll.poll(left(patience) * 1000):
                    raise TimeoutError
                if not patience and is_set():
                    self._socket.settimeout(left(0))
                if not (data := self._socket.recv(_CHUNK)):
                    raise ConnectionError("the connection was closed")
                self._answers.feed(data)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise ReplyTimeout("Redis has not answered in time") from None
            if isinstance(error, OSError):
                raise ConnectionError(f"the connection broke: {error}") from None
            raise
        if isinstance(answer, Exception):
            if not isinstance(answer, ResponseError):
                self.close()  # not let in, or loading: what redis-py calls an error of the connection
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


class Wires:
    """The idle wires of one client, for one command at a time. Any thread may use them."""

    def __init__(self, client: redis.Redis) -> None:
        self._client, self._idle = client, deque[Wire]()
        _every.add(self)

    def ask(self, *command: Any) -> Any:
        """The answer to a command of text, bytes and numbers. Raises redis-py's errors, the answer among them."""
        wire = self._borrowed()
        try:
            wire.send(*command)
            return wire.receive()
        except ResponseError as error:
            _leave_replica(wire, error)
            raise
        except BaseException:
            wire.close()  # or the next command would be given this one's answer
            raise
        finally:
            if wire.is_open:
                self._idle.append(wire)

    def ask_many(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """The answers to ``commands``, of which each is sent as soon as it is made; errors among them as values."""
        wire = self._borrowed()
        answers: list[Any] = []
        try:
            sent = 0
            for command in commands:
                wire.send(*command)
                sent += 1
            while len(answers) < sent:
                try:
                    answers.append(wire.receive())
                except ResponseError as error:
                    answers.append(error)
            for answer in answers:
                if isinstance(answer, ResponseError):
                    _leave_replica(wire, answer)
            return answers
        except BaseException:
            wire.close()
            raise
        finally:
            if wire.is_open:
                self._idle.append(wire)

    def forget(self) -> None:
        """In a forked child: what was idle is the parent's."""
        self._idle = deque()

    def _borrowed(self) -> Wire:
        try:
            wire = self._idle.pop()
        except IndexError:
            return Wire(self._client)
        if not wire.is_fresh:
            wire.close()  # closed by Redis, or by us, while it lay idle: no reason to fail
        return wire


_every: weakref.WeakSet[Wires] = weakref.WeakSet()


def _forget() -> None:
    for wires in _every:
        wires.forget()


os.register_at_fork(after_in_child=_forget)


def _leave_replica(wire: Wire, error: ResponseError) -> None:
    # its server was demoted: the address may lead to another one by now
    if isinstance(error, ReadOnlyError) or "-READONLY" in str(error):  # before Redis 7 a script's error quotes it
        wire.close()


def _send_at_once(connection: Any) -> None:
    """Send without asking first whether there is room, as Python does at the cost of another call: there is, mostly.

    Not where sockets wait in ways of their own: TLS, and those of gevent and its like.
    """
    if type(connection._sock).__module__ == socket.__name__ and connection._sock.gettimeout():
        connection.patience = connection.socket_timeout
        connection._sock.settimeout(None)


def _error(text: str) -> Exception:
    error: Exception = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]
    return error
