"""An actor that dies just before, or just after, its k-th command reaches Redis."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from redis.exceptions import RedisError

from dueq.core.namespace import Namespace
from support.waiting import wait_until

When = Literal["before", "after"]

_BLOCKING = ("BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE")


class Killed(BaseException):
    """The process is gone: nothing catches this, as nothing catches SIGKILL."""


class Fate:
    """Counts the commands of one actor and kills it at the ``at``-th; 0: never."""

    def __init__(self, at: int = 0, when: When = "before") -> None:
        self.at, self.when = at, when
        self.sent = 0
        self.dead = False

    def allowed(self, asked: int) -> int:
        """How many of the next ``asked`` commands still go out; fewer means death once they have."""
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
    """``namespace``, all of whose connections call ``meanwhile`` before each single command goes out."""
    base: type[Any] = _renewed(namespace)

    class Interrupted(base):  # type: ignore[misc]
        def send_command(self, *args: Any, **kwargs: Any) -> None:
            meanwhile()
            super().send_command(*args, **kwargs)

        def pack_commands(self, commands: Any) -> Any:
            # one by one, each answered before the others act: the server could interleave them just so
            for command in commands:
                meanwhile()
                before = self._unread()
                super().send_packed_command(super().pack_commands([command]))
                wait_until(partial(self._has_more_than, before), what="Redis has answered")
            return []

        def _has_more_than(self, unread: int) -> bool:
            return self._unread() > unread

        def _unread(self) -> int:
            try:
                return len(self._sock.recv(1 << 20, socket.MSG_PEEK | socket.MSG_DONTWAIT))
            except (BlockingIOError, AttributeError):  # nothing, or not connected yet
                return 0

    namespace.client.connection_pool.connection_class = Interrupted
    return namespace


def _renewed(namespace: Namespace) -> type[Any]:
    """Hang up everywhere; returns the class of the connections to come."""
    pool = namespace.client.connection_pool
    pool.disconnect()
    pool.reset()
    base: type[Any] = pool.connection_class
    return base


def mortal(namespace: Namespace, fate: Fate) -> Namespace:
    """``namespace``, all of whose connections from now on obey ``fate``."""
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
            for _ in range(replies):  # so that Redis has done what it was told before the next actor looks
                try:
                    self.read_response(disable_decoding=True)
                except RedisError:
                    continue
            raise Killed

    namespace.client.connection_pool.connection_class = Mortal
    return namespace
