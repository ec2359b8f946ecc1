"""Starts the embedded server again when it dies under a running supervisor, unless it was stopped on purpose."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..client.embedded import EmbeddedServer
from ..client.failures import Patience
from ..errors import EmbeddedServerError

log = logging.getLogger("dueq.supervisor")

_FIRST_S, _LONGEST_S = 0.1, 30.0
_SOUND_S = 60.0
"""A server that lived this many seconds did not die because of its start."""


class Revival:
    """The supervisor's loop calls ``look``: that takes microseconds, and asks the kernel, not Redis."""

    def __init__(self, server: EmbeddedServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._server, self._clock = server, clock
        self._patience = Patience(_FIRST_S, _LONGEST_S)
        self._thread: threading.Thread | None = None
        self._started_at = clock()
        self._try_at = 0.0
        self._was_stopped = False

    def look(self) -> None:
        """If the server is gone, start it, in a thread: it may take its time to load."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._server.lives():
            self._was_stopped = False
            return
        if self._server.was_stopped():
            if not self._was_stopped:
                log.warning("the Redis server in %s was stopped: dueq redis start starts it", self._server.directory)
            self._was_stopped = True
            return
        now = self._clock()
        if now >= self._try_at:
            if now - self._started_at > _SOUND_S:
                self._patience.succeeded()
            self._try_at = now + self._patience.failed()
            self._thread = threading.Thread(target=self._start, name="dueq-revival", daemon=True)
            self._thread.start()

    def _start(self) -> None:
        log.warning("the Redis server in %s has died: starting it again", self._server.directory)
        try:
            self._server.start()
            self._started_at = self._clock()
        except EmbeddedServerError as error:
            log.error("the Redis server cannot be started: %s", error)
