"""Asking a loop to end, from a signal handler or another thread."""

from __future__ import annotations

import contextlib
import os
import select
import signal

_SELECT_LIMIT = 1024  # FD_SETSIZE


class Stop:
    """A request to stop that also ends waiting: a pipe that becomes readable.

    Not a threading.Event: setting one in a signal handler can deadlock with the main thread waiting on it.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self.requested = False

    def wake_on_signals(self) -> None:
        """Make every handled signal end waiting. Call it in the main thread.

        The kernel may hand a signal to any thread; Python runs its handler in the main one only, which would stay in
        its system call and never hear of it.
        """
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def request(self) -> None:
        """Stop soon. May be called from a signal handler, and again."""
        if not self.requested:
            self.requested = True
            self._wake()

    def fileno(self) -> int:
        """Readable from the request on."""
        return self._reader

    def forget_wakeups(self) -> None:
        """Before waiting: forget signals that were not for us, such as those a task handles, or no wait would last."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 512):
                pass
        if self.requested:  # what it wrote may just have been read
            self._wake()

    def sleep(self, seconds: float) -> None:
        """Sleep, unless or until asked to stop."""
        self.forget_wakeups()
        readable([self._reader], seconds)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of wake-ups: readable already
            os.write(self._writer, b"!")

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)


def readable(descriptors: list[int], seconds: float) -> list[int]:
    """Those of ``descriptors`` that are readable, after at most ``seconds``."""
    seconds = max(0.0, seconds)
    if max(descriptors) < _SELECT_LIMIT:
        return select.select(descriptors, (), (), seconds)[0]
    # only for processes with very many files: poll rounds up to whole milliseconds
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(seconds * 1000)]
