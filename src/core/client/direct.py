"""Whether the kernel notices by itself that a connection to Redis is dead, so that nothing need be sent to find out.

The kernel can ask the other end of a TCP connection now and then whether it is there. That is worth something only if
the other end is Redis: a proxy would answer although its own connection to Redis is dead. So Redis is asked from which
address the connection comes. Through a proxy, it comes from another.
"""

from __future__ import annotations

import re
import socket
from typing import Any

from redis.exceptions import ResponseError

from .protocol import LENIENT
from .wire import Wire

_SEEN = re.compile(r"(?:^| )addr=(.*?) laddr=")
_CUT_AT = 64  # characters: servers leave out the end of a longer path
_ASKS_AFTER_S, _ASKS_EVERY_S, _ASKS = 10, 5, 3  # so a dead link is noticed after 25 s


def ends_with_link(wire: Wire) -> bool:
    """Have the kernel close the connection of ``wire`` within half a minute after its link has broken.

    False if it cannot do that, or if that is not known: on another system than Linux, before Redis 6.2, over a proxy or
    an address translation, or for a user who may not ask. The wire must be open, with no reply to come.
    """
    wire.send("CLIENT", "INFO")
    try:
        about = wire.receive().decode(errors=LENIENT)
    except ResponseError:
        return False
    seen = _SEEN.search(about)
    return seen is not None and _is_own(seen[1], wire.socket) and _watched(wire.socket)


def _is_own(seen: str, connection: Any) -> bool:
    """Whether ``seen`` is the address of this end, as servers write it."""
    if connection.family == socket.AF_UNIX:  # they write that of the other end, and Valkey 9.1 in brackets
        path = f"{connection.getpeername()}:0"
        return seen in (path, f"[{path}]:0") or (len(seen) >= _CUT_AT and path.startswith(seen))
    host, port = connection.getsockname()[:2]
    return seen == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _watched(connection: Any) -> bool:
    if connection.family == socket.AF_UNIX:  # it ends with the process at the other end
        return True
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        return False
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, _ASKS_AFTER_S),
            (socket.TCP_KEEPINTVL, _ASKS_EVERY_S),
            (socket.TCP_KEEPCNT, _ASKS),
            # the same for what was sent and is not confirmed: for that, the kernel would try for many minutes
            (socket.TCP_USER_TIMEOUT, (_ASKS_AFTER_S + _ASKS_EVERY_S * _ASKS) * 1000),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        return False
    return True
