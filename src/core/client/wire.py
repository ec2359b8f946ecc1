"""Connections on which commands are sent at once, and their replies read later.

redis-py's pipeline keeps commands until it is executed. Here each command is on its way when ``send`` returns, and the
caller reads the replies, in order, when it suits. redis-py makes the connections, and its parser reads the replies. Its
pools, events and retries stay out: they cost more than the command.
"""

from __future__ import annotations

import os
import select
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import hiredis
import redis
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError, InvalidResponse, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as ReplyTimeout

from ..process.stop import readable
from .deadline import left

_CHUNK = 1 << 16

_every: weakref.WeakSet[Wires] = weakref.WeakSet()
_every_wire: weakref.WeakSet[Wire] = weakref.WeakSet()


class Wire:
    """A connection for one thread at a time. It raises redis-py's errors, and closes after any that is not a reply."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._socket: Any = None
        self._reader: Any = None
        self._owed = 0  # replies that are still to come
        self._poll = select.poll()  # of the socket, so that looking whether it is fresh costs little
        _every_wire.add(self)

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def socket(self) -> Any:
        """The socket of the open connection."""
        return self._socket

    @property
    def is_fresh(self) -> bool:
        """Whether it is open, nothing has come since the last reply, and the other side has not closed it."""
        return (
            self._connection is not None
            and self._connection._sock is self._socket
            and not self._poll.poll(0)
            and not _decrypted(self._socket)
        )

    def send(self, *command: Any) -> None:
        """Send a command of text, bytes and numbers, connecting first if need be."""
        try:
            self._connect()
            self._connection.send_command(*command, check_health=False)
            self._sent(1)
        except BaseException:
            self.close()
            raise

    def send_many(self, commands: Sequence[Sequence[Any]]) -> None:
        """Send ``commands`` at one go, connecting first if need be; each has a reply of its own."""
        try:
            self._connect()
            packed = b"".join(self._connection.pack_commands(commands))
            self._connection.send_packed_command([packed], check_health=False)
            self._sent(len(commands))
        except BaseException:
            self.close()
            raise

    def receive(self) -> Any:
        """The reply to the oldest command without one. Raises a reply that is an error.

        The whole reply must come within the client's time-out, in however many pieces.
        """
        try:
            if (reply := self._reader.gets()) is False:
                reply = self._await_reply()
            self._owed -= 1
            if not self._owed and self._reader.has_data():
                # it is not known which of them belongs to which command
                raise ConnectionError("Redis sent more replies than it got commands")
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise ReplyTimeout("Redis has not answered in time") from None
            if isinstance(error, OSError):
                raise ConnectionError(f"the connection broke: {error}") from None
            raise
        if isinstance(reply, Exception):
            if not isinstance(reply, ResponseError):
                self.close()  # not let in, or loading: what redis-py calls an error of the connection
            raise reply
        return reply

    def _connect(self) -> None:
        if self._connection is not None:
            return
        self._connection = self._pool.get_connection()
        self._socket = self._connection._sock  # redis-py has no public way to it
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        _send_at_once(self._connection)
        self._reader, self._owed = hiredis.Reader(protocolError=InvalidResponse, replyError=_error), 0

    def _sent(self, commands: int) -> None:
        if self._connection._sock is not self._socket:
            # somebody closed all connections of the pool, and redis-py opened this one anew: commands sent before get
            # no reply
            raise ConnectionError("the connection was closed meanwhile")
        self._owed += commands

    def _await_reply(self) -> Any:
        connection = self._connection
        polls = connection.patience > 0  # else its socket waits in a way of its own
        patience = connection.socket_timeout or 0.0
        until, seconds = time.monotonic() + patience, left(patience)
        try:
            while True:
                if connection._sock is not self._socket:
                    raise ConnectionError("the connection was closed")
                if not polls:
                    self._socket.settimeout(seconds or None)
                elif not self._poll.poll(seconds * 1000):
                    raise TimeoutError
                self._take_in()
                if (reply := self._reader.gets()) is not False:
                    return reply
                seconds = left(until - time.monotonic())
                if patience and seconds <= 0:
                    raise TimeoutError
        finally:
            if not polls:
                with suppress(OSError):  # closed
                    self._socket.settimeout(connection.socket_timeout)

    def _take_in(self) -> None:
        if not (data := self._socket.recv(_CHUNK)):
            raise ConnectionError("the connection was closed")
        self._reader.feed(data)

    def readable(self, seconds: float, *also: int) -> bool:
        """Wait at most ``seconds`` for a reply, or until one of the descriptors ``also`` is readable; True if it is a
        reply."""
        if self._connection._sock is not self._socket:
            self.close()
            raise ConnectionError("the connection was closed meanwhile")
        if _decrypted(self._socket):
            return True
        own = self._socket.fileno()
        return own in readable([own, *also], seconds)

    def close(self) -> None:
        """Close the connection, and forget commands without a reply; the next command opens another."""
        connection, self._connection, self._socket, self._reader = self._connection, None, None, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def forget(self) -> None:
        """In a forked child: the connection is the parent's; with our copy open Redis would not see it end."""
        if self._socket is not None:
            self._socket.close()
        self._connection, self._socket, self._reader = None, None, None


class Wires:
    """The idle wires of one client, for one command at a time. Any thread may use them."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        # shared by all that use the client, and as long-lived as its pool, which counts a wire until it is closed
        self._idle: deque[Wire] = client.connection_pool.__dict__.setdefault("dueq_idle", deque())
        _every.add(self)

    def call(self, *command: Any) -> Any:
        """The reply to a command of text, bytes and numbers. Raises redis-py's errors, and a reply that is an error."""
        wire = self._borrowed()
        try:
            wire.send(*command)
            return wire.receive()
        except ResponseError as error:
            _leave_replica(wire, error)
            raise
        except BaseException:
            wire.close()  # or the next command would get the reply to this one
            raise
        finally:
            if wire.is_open:
                self._idle.append(wire)

    def call_many(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """The replies to ``commands``, each sent as soon as it is made; errors come as values among the replies."""
        replies: list[Any] = []
        with self.lent() as wire:
            sent = 0
            for command in commands:
                wire.send(*command)
                sent += 1
            while len(replies) < sent:
                try:
                    replies.append(wire.receive())
                except ResponseError as error:
                    replies.append(error)
            for reply in replies:
                if isinstance(reply, ResponseError):
                    _leave_replica(wire, reply)
        return replies

    @contextmanager
    def lent(self, *fine: type[Exception]) -> Iterator[Wire]:
        """A wire for commands that belong together; closed if any error but ``fine`` is raised meanwhile."""
        wire = self._borrowed()
        try:
            yield wire
        except fine:
            raise
        except BaseException:
            wire.close()
            raise
        finally:
            if wire.is_open:
                self._idle.append(wire)

    def forget(self) -> None:
        """In a forked child: what was idle is the parent's."""
        self._idle.clear()

    def _borrowed(self) -> Wire:
        try:
            wire = self._idle.pop()
        except IndexError:
            return Wire(self._client)
        if not wire.is_fresh:
            wire.close()  # closed by Redis, or by us, while it lay idle: no reason to fail
        return wire


def _forget() -> None:
    for wire in list(_every_wire):
        wire.forget()
    for wires in list(_every):
        wires.forget()


os.register_at_fork(after_in_child=_forget)


def _leave_replica(wire: Wire, error: ResponseError) -> None:
    # its server was demoted: the address may lead to another one by now
    if isinstance(error, ReadOnlyError) or "-READONLY" in str(error):  # before Redis 7 a script's error quotes it
        wire.close()


def _decrypted(connection: Any) -> int:
    """Bytes that TLS has ready, so that waiting for the socket would not notice them."""
    pending: Callable[[], int] | None = getattr(connection, "pending", None)
    return pending() if pending is not None else 0


def _send_at_once(connection: Any) -> None:
    """Let the connection send without a check for room in the socket, which costs Python another call: mostly there is.

    Not for sockets that wait in their own way: TLS, and those of gevent and its like.
    """
    if type(connection._sock).__module__ == socket.__name__ and connection._sock.gettimeout():
        connection.patience = connection.socket_timeout
        connection._sock.settimeout(None)


def _error(text: str) -> Exception:
    error: Exception = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]
    return error
