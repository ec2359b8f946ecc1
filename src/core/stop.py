"""Asking a loop to end, from a signal handler or another thread."""

from __future__ import annotations

import os
import select


class Stop:
    """A request to stop that also ends waiting: a pipe that becomes readable.

    Not a threading.Event: setting one in a signal handler can deadlock with the main thread waiting on it.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.requested = False

    def request(self) -> None:
        """Stop soon. May be called from a signal handler, and again."""
        if not self.requested:
            self.requested = True
            os.write(self._writer, b"!")

    def fileno(self) -> int:
        """Readable from the request on."""
        return self._reader

    def sleep(self, seconds: float) -> None:
        """Sleep, unless or until asked to stop."""
        select.select([self._reader], (), (), max(0.0, seconds))

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)
