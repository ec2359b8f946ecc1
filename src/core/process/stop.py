"""Waking a loop that waits, from a signal handler or another thread; and asking it to end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Iterator

_SELECT_LIMIT = 1024  # FD_SETSIZE


class WakeUp:
    """A pipe that becomes readable, and so ends waiting.

    Not a threading.Event: setting one in a signal handler can deadlock with the main thread waiting on it.
    """

    def __init__(self) -> None:
        # sockets rather than os.pipe: what is forgotten without close() is given back by the garbage collector
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._reader, self._writer = self._reading.fileno(), self._writing.fileno()

    def wake_on_signals(self) -> None:
        """Make every handled signal end waiting. Call it in the main thread.

        The kernel may deliver a signal to any thread. Python runs handlers in the main thread only, which would stay in
        its system call.
        """
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def forget_signals(self) -> None:
        """In a fork: its signals must not wake the process that it was forked from."""
        other = signal.set_wakeup_fd(-1)
        if other not in (self._writer, -1):
            signal.set_wakeup_fd(other)

    def fileno(self) -> int:
        """Readable from a wake-up on until wake-ups are forgotten."""
        return self._reader

    def forget_wakeups(self) -> None:
        """Forget handled wake-ups, such as a task's signals. Call it before waiting, or no wait would last."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 512):
                pass

    def close(self) -> None:
        """Give the pipe back."""
        self._reading.close()
        self._writing.close()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of wake-ups: readable already
            os.write(self._writer, b"!")


class Stop(WakeUp):
    """A request to stop, for a child's loop."""

    def __init__(self) -> None:
        super().__init__()
        self.requested = False

    def request(self) -> None:
        """Stop soon. May be called from a signal handler, and again."""
        if not self.requested:
            self.requested = True
            self._wake()

    def forget_wakeups(self) -> None:
        super().forget_wakeups()
        if self.requested:  # what it wrote may just have been read
            self._wake()

    def sleep(self, seconds: float) -> None:
        """Sleep, unless or until asked to stop."""
        self.forget_wakeups()
        readable([self._reader], seconds)


class Inbox(WakeUp):
    """Signals for the supervisor's loop: handlers only put them here."""

    def __init__(self) -> None:
        super().__init__()
        self._signals: deque[signal.Signals] = deque()

    def catch(self, *numbers: signal.Signals) -> None:
        """Put these signals here from now on. Call it in the main thread.

        The end of a child, or of an orphan that came to us, ends waiting, too. A child's sentinel alone would not
        always do that: a process that the child has forked keeps it open.
        """
        self.wake_on_signals()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in numbers:
            signal.signal(number, lambda got, _: self.put(signal.Signals(got)))

    def put(self, number: signal.Signals) -> None:
        """What a handler does; tests call it themselves."""
        self._signals.append(number)
        self._wake()

    @property
    def waiting(self) -> bool:
        """Whether there is a signal that was not taken yet."""
        return bool(self._signals)

    def take(self) -> Iterator[signal.Signals]:
        """The signals that came, in their order, each once."""
        while self._signals:
            yield self._signals.popleft()


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
