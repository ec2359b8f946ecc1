"""An actor that dies just before, or just after, its k-th command reaches Redis."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any, Literal

import hiredis
from redis.exceptions import RedisError

from dueq.core.namespace import Namespace

When = Literal["before", "after"]

_BLOCKING = ("BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE")
_PATIENCE_S = 5.0
_CHUNK = 1 << 16


class Killed(BaseException):
    """The process is gone: nothing catches this, as nothing catches SIGKILL."""


class Fate:
    """Counts the commands of one actor, and kills it at the ``at``-th (0: never)."""

    def __init__(self, at: int = 0, when: When = "before") -> None:
        self.at, self.when = at, when
        self.sent = 0
        self.dead = False

    def allowed(self, asked: int) -> int:
        """How many of the next ``asked`` commands are still sent. If it is fewer, the actor dies after them."""
        if self.dead:
            raise Killed
        last = self.at if self.when == "after" else self.at - 1
        if self.at == 0 or self.sent + asked < self.at:
            self.sent += asked
            return asked
        go = max(0, last - self.sent)
        self.dead = True
        return go


def interrupted(namespace: Namespace, meanwhile: Callable[[], object]) -> Namespace:
    """``namespace``, with connections that call ``meanwhile`` before they send each single command."""
    base: type[Any] = _renewed(namespace)

    class Interrupted(base):  # type: ignore[misc]
        def _connect(self) -> _ReadingAhead:
            return _ReadingAhead(super()._connect())

        def send_command(self, *args: Any, **kwargs: Any) -> None:
            meanwhile()
            super().send_command(*args, **kwargs)

        def pack_commands(self, commands: Any) -> Any:
            # one by one, each with its reply before the others act: a server may interleave them like that
            for number, command in enumerate(commands):
                if number:
                    self._sock.take_answer()
                meanwhile()
                super().send_packed_command(super().pack_commands([command]))
                self._sock.await_answer()
            return []

        def _die(self, replies: int) -> None:  # if the namespace is mortal, too
            if replies:
                self._sock.await_answer()  # to the last command: the base class may read earlier answers, kept here
            super()._die(replies)

    namespace.client.connection_pool.connection_class = Interrupted
    return namespace


class _ReadingAhead(socket.socket):
    """A connected socket that stores answers itself until they are read.

    The kernel stores only some hundred small answers of a server on the same host; then the server waits. The last
    answer stays in the kernel, so that code that polls the socket notices that there is something to read.
    """

    def __init__(self, connected: socket.socket) -> None:
        patience = connected.gettimeout()
        super().__init__(connected.family, connected.type, connected.proto, connected.detach())
        self.settimeout(patience)
        self._kept = b""

    def await_answer(self) -> None:
        """Wait until Redis has begun to answer, which means that it has executed the command."""
        if not select.select([self], [], [], _PATIENCE_S)[0]:
            raise AssertionError(f"Redis has not answered within {_PATIENCE_S:g} s")

    def take_answer(self) -> None:
        """Read and store the whole answer that has begun to come."""
        answer = hiredis.Reader()
        while answer.gets() is False:
            self.await_answer()
            if not (data := super().recv(_CHUNK)):
                return  # closed: the next read gets that from the kernel
            answer.feed(data)
            self._kept += data

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if not self._kept:
            return super().recv(bufsize, flags)
        data, self._kept = self._kept[:bufsize], self._kept[bufsize:]
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:
        if not self._kept:
            return super().recv_into(buffer, nbytes, flags)
        data = self.recv(nbytes or len(buffer))
        memoryview(buffer)[: len(data)] = data
        return len(data)


def _renewed(namespace: Namespace) -> type[Any]:
    """Close all connections. Returns the class of future connections."""
    pool = namespace.client.connection_pool
    pool.disconnect()
    pool.reset()
    base: type[Any] = pool.connection_class
    return base


def mortal(namespace: Namespace, fate: Fate) -> Namespace:
    """``namespace``, with new connections that obey ``fate``."""
    base: type[Any] = _renewed(namespace)

    class Mortal(base):  # type: ignore[misc]
        def send_command(self, *args: Any, **kwargs: Any) -> None:
            go = fate.allowed(1)
            if go:
                super().send_command(*args, **kwargs)
            if fate.dead:
                self._die(go if args[0] not in _BLOCKING else 0)

        def pack_commands(self, commands: Any) -> Any:
            commands = list(commands)
            go = fate.allowed(len(commands))
            if fate.dead:
                if go:
                    super().send_packed_command(super().pack_commands(commands[:go]))
                self._die(go)
            return super().pack_commands(commands)

        def _die(self, replies: int) -> None:
            for _ in range(replies):  # so that Redis has executed the commands before the next actor looks
                try:
                    self.read_response(disable_decoding=True)
                except RedisError:
                    continue
            raise Killed

    namespace.client.connection_pool.connection_class = Mortal
    return namespace
