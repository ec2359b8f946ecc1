"""TLS connections that fail soon, with a reason: a server without TLS does not reply to a handshake at all."""

from __future__ import annotations

import builtins
import contextlib
import socket
import ssl
from typing import Any

from redis.connection import SSLConnection
from redis.exceptions import ConnectionError, TimeoutError

_FIRST_S = 1.0
"""After this many seconds of a handshake a plain PING shows whether the server speaks TLS at all."""
_HANDSHAKE_S = 5.0


def secured(base: type[Any]) -> type[Any]:
    """``base``, one of redis-py's connection classes with TLS, with a check of what is at the other end."""

    class Secured(base):  # type: ignore[misc]
        def _connect(self) -> Any:
            try:
                return self._shake_hands(_FIRST_S)
            except builtins.TimeoutError:
                self._see_that_it_speaks_tls()
            except ssl.SSLError:
                self._see_that_it_speaks_tls()
                raise
            try:
                return self._shake_hands(self.socket_connect_timeout or _HANDSHAKE_S)
            except builtins.TimeoutError:
                raise TimeoutError("the server took the connection, but its TLS handshake does not end") from None

        def can_read(self, timeout: float = 0) -> bool:
            # called for new connections, too: there session tickets look like data until they are read
            if self._sock is None or timeout:
                return bool(super().can_read(timeout))
            try:
                return bool(self._parser.read_from_socket(timeout=0, raise_on_timeout=False))
            except ssl.SSLError as error:
                raise ConnectionError(f"the TLS connection broke: {error}") from error

        def _shake_hands(self, seconds: float) -> Any:
            plain: Any = super(SSLConnection, self)._connect()  # type: ignore[misc]
            try:
                plain.settimeout(seconds)
                made = self._wrap_socket_with_ssl(plain)
            except BaseException:
                plain.close()
                raise
            made.settimeout(self.socket_timeout)
            return made

        def _see_that_it_speaks_tls(self) -> None:
            if _is_plain(self.host, int(self.port)):
                raise ConnectionError("the server does not speak TLS at this port: write redis:// (with one s)")

    return Secured


def _is_plain(host: str, port: int) -> bool:
    """Whether a Redis answers there without TLS."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), _FIRST_S) as plain:
        plain.settimeout(_FIRST_S)
        plain.sendall(b"PING\r\n")
        return plain.recv(1)[:1] in (b"+", b"-")
    return False
