"""Messages to the service manager: sd_notify(3), whose whole protocol is one datagram of lines."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

_PATIENCE_S = 0.5  # with a service manager that does not read its messages: the supervisor's loop has more to do


class Notifier:
    """Sends to the socket that the environment names; without one it does nothing. A lost message is no error."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every_s, self._fed_at, self._stopping = watchdog_s / 3, 0.0, False

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Notifier:
        """From NOTIFY_SOCKET, and WATCHDOG_USEC if that is meant for this process (WATCHDOG_PID)."""
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        micros = environment.get("WATCHDOG_USEC", "") if meant else ""
        return cls(environment.get("NOTIFY_SOCKET", ""), int(micros) / 1e6 if micros.isdigit() else 0.0)

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say once that it stops, and then that it lives: systemd's watchdog watches the stopping, too."""
        if not self._stopping:
            self._stopping = True
            self._send("STOPPING=1")
        self.alive()

    def alive(self) -> None:
        """Feed systemd's watchdog, if there is one and it is time."""
        now = time.monotonic()
        if self._every_s and now - self._fed_at >= self._every_s:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(_PATIENCE_S)
                out.connect(self._address)
                out.send(message.encode())
