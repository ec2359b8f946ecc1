"""Connections that count the commands they send, and that send each once."""

from __future__ import annotations

import builtins
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.connection import DefaultParser, SSLConnection
from redis.exceptions import (
    ConnectionError,
    DataError,
    TimeoutError,
)

from . import deadline
from .protocol import LENIENT
from .tls import secured

BLOCKING_S = 30
"""Longest time in seconds that a command blocks in the server, unless nothing need be sent to find its link dead."""

TIMEOUT_S = BLOCKING_S + 10.0
CONNECT_S = 5.0


class CommandCount:
    """How many commands this process has sent to Redis (pipelines count each command)."""

    def __init__(self) -> None:
        self.sent = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.sent += count

    def renew_lock(self) -> None:
        """In a forked child: another thread of the parent may have held it."""
        self._lock = threading.Lock()


COMMANDS = CommandCount()
os.register_at_fork(after_in_child=COMMANDS.renew_lock)


_ParserBase: Any = DefaultParser


class _Parser(_ParserBase):  # type: ignore[misc]
    """Reads replies within the deadline of the call that waits for them, in however many pieces they come."""

    def read_from_socket(self, *args: Any, **kwargs: Any) -> Any:
        if deadline.is_set() and self._sock is not None:
            self._sock.settimeout(deadline.left(TIMEOUT_S))
        return super().read_from_socket(*args, **kwargs)


def _packed(command: Sequence[Any]) -> bytes:
    try:
        return bytes(pack_command(tuple(command)))
    except UnicodeEncodeError:
        return bytes(pack_command(_as_bytes(command)))


def _as_bytes(command: Sequence[Any]) -> tuple[Any, ...]:
    """The command with its texts as bytes; texts that were read from damaged bytes go back unchanged."""
    return tuple(part.encode(errors=LENIENT) if isinstance(part, str) else part for part in command)


def counting(base: type[Any]) -> type[Any]:
    """``base``, a redis-py connection class, made to count what it sends, and to pack and send single commands itself.

    For a single command, redis-py would need more time than the kernel needs to send it.
    """
    if issubclass(base, SSLConnection):
        base = secured(base)

    class Counting(base):  # type: ignore[misc]
        socket_connect_timeout: float | None
        patience = 0.0  # seconds that its socket may take, where the socket itself has no time-out

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{"parser_class": _Parser, **kwargs})

        def send_command(self, *args: Any, **kwargs: Any) -> None:
            COMMANDS.add(1)
            if " " in args[0]:  # redis-py writes some commands as two words
                super().send_command(*args, **kwargs)
                return
            try:
                packed = _packed(args)
            except TypeError as error:
                raise DataError(str(error)) from None
            if kwargs.get("check_health", True) or self._sock is None:
                self.send_packed_command((packed,), check_health=kwargs.get("check_health", True))
                return
            try:
                self._send(packed)
            except builtins.TimeoutError:
                self.disconnect()
                raise TimeoutError("Redis has not taken a command in time") from None
            except OSError as error:
                self.disconnect()
                raise ConnectionError(f"the connection broke: {error}") from None
            except BaseException:
                self.disconnect()  # half a command may have been sent
                raise

        def _connect(self) -> Any:
            if not deadline.is_set():
                return super()._connect()
            patience = self.socket_connect_timeout
            self.socket_connect_timeout = min(patience or CONNECT_S, deadline.left(CONNECT_S))
            try:
                return super()._connect()
            finally:
                self.socket_connect_timeout = patience

        def _send(self, packed: bytes) -> None:
            if not self.patience:
                if deadline.is_set():
                    self._sock.settimeout(deadline.left(TIMEOUT_S))
                self._sock.sendall(packed)
                return
            try:
                sent = self._sock.send(packed, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            if sent < len(packed):
                self._sock.settimeout(deadline.left(self.patience))
                self._sock.sendall(memoryview(packed)[sent:])
                self._sock.settimeout(None)

        def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
            if deadline.is_set() and self._sock is not None:
                self._sock.settimeout(deadline.left(TIMEOUT_S))
            super().send_packed_command(*args, **kwargs)

        def pack_commands(self, commands: Any) -> Any:
            commands = list(commands)
            COMMANDS.add(len(commands))
            try:
                return super().pack_commands(commands)
            except UnicodeEncodeError:
                return super().pack_commands([_as_bytes(command) for command in commands])

    return Counting
