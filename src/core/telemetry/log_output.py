"""Where log lines go: stderr, in order, whole, and without ever waiting for its reader.

A pipe that is not read, or a terminal that is paused, would hold up its writers for ever. So a line is written at once
if there is room, without waiting; if not, it is queued, and a thread writes it as soon as there is. Lines for which the
queue has no room are dropped and counted, and the log says so where they are missing.

stderr itself stays as it is: whether writing waits is a property of the open file, which other programs share. Pipes
and terminals are opened a second time instead.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import select
import socket
import stat
import struct
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

PIPE_BUF = select.PIPE_BUF
QUEUE_BYTES = 1 << 20

_STDERR = 2
_STILL_S, _LEAVING_S = 0.25, 2.0
"""How long writing the queue at the end may take without any progress, and in all."""
_POLL_S = 0.25
_RETRY_S = 0.005  # there is room, but not for this line, or another process is writing a long one

Write = Callable[[bytes], int]
"""Writes some of the bytes and returns how many. Raises BlockingIOError if there is no room."""


class _Queued(NamedTuple):
    data: bytes
    lost: int = 0
    """If not 0: this is the notice that this number of lines is missing here."""
    begun: bool = False
    """The part of the line before ``data`` is written already."""


class Output:
    """One way to stderr. Any thread may use it, and signal handlers, too; it never raises OSError."""

    def __init__(self, notice: Callable[[int], str], fd: int = _STDERR, queue_bytes: int = QUEUE_BYTES) -> None:
        """``notice`` makes the line that says how many lines were dropped."""
        self._notice, self._stderr, self._most = notice, fd, queue_bytes
        self._count: Callable[[float], object] | None = None
        self._write: Write = _nowhere
        self._fd, self._is_pipe = -1, False
        self._start()
        self._open()

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._queue, self._size, self._lost = deque[_Queued](), 0, 0
        self._uncounted = 0
        self._torn = self._advancing = False
        self._thread: threading.Thread | None = None

    def _open(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
        self._fd, self._is_pipe, self._write = _opened(self._stderr)

    def leads_to_stderr(self) -> bool:
        """Whether stderr is still what it was when this was made."""
        try:
            ours, theirs = os.fstat(self._fd), os.fstat(self._stderr)
        except OSError:
            return False
        return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)

    def count_with(self, count: Callable[[float], object]) -> None:
        """Call ``count`` with the number of lines whenever some are dropped, and for those dropped so far."""
        with self._lock:
            self._count, dropped, self._uncounted = count, self._uncounted, 0
            if dropped:
                count(dropped)

    def take_over(self, other: Output) -> None:
        """Go on counting from where ``other``, which is closed, ended."""
        self._count, self._uncounted = other._count, other._uncounted

    def write(self, line: str) -> None:
        """Write ``line`` with its end, now or as soon as there is room; drop it if too much waits already."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._queue and self._size + len(data) > self._most:
                self._drop(1)
                return
            self._say_what_is_lost()
            self._put(_Queued(data))
            self._advance()
            if self._queue and self._thread is None:
                self._begin_thread()

    def flush(self) -> None:
        """Write what is queued, as long as it is read: for the end of the process."""
        now = time.monotonic()
        end, still = now + _LEAVING_S, now + _STILL_S
        while self._queue and (now := time.monotonic()) < min(end, still):
            if self._step(min(end, still) - now):
                still = time.monotonic() + _STILL_S

    def close(self) -> None:
        """Write what can be written; what cannot is dropped, and counted."""
        self.flush()
        with self._lock:
            self._drop(sum(1 for queued in self._queue if not queued.lost))
            self._queue.clear()
            self._size = 0
            if self._fd >= 0:
                with suppress(OSError):
                    os.close(self._fd)
            self._fd, self._is_pipe, self._write = -1, False, _nowhere

    def forked(self) -> None:
        """In a forked child: forget the queue, which the parent writes, and the counters, which are the parent's."""
        self._count = None
        self._start()

    # -- under the lock

    def _put(self, queued: _Queued) -> None:
        self._queue.append(queued)
        self._size += len(queued.data)

    def _drop(self, lines: int) -> None:
        self._lost += lines
        if self._count is None:
            self._uncounted += lines
        else:
            with suppress(ValueError):  # the memory of the counters is given back already: this is the very end
                self._count(lines)

    def _say_what_is_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._put(_Queued(self._notice(lost).encode("utf-8", "backslashreplace") + b"\n", lost))

    def _advance(self) -> bool:
        """Write what there is room for; True if anything was written or given up."""
        if self._advancing:  # in a signal handler: the interrupted call goes on with what the handler has queued
            return False
        self._advancing, moved = True, False
        try:
            while self._queue:
                data, lost, begun = queued = self._queue.popleft()
                try:
                    sent = self._send(b"\n" + data if self._torn else data) - self._torn
                except BlockingIOError:
                    self._queue.appendleft(queued)
                    return moved
                except OSError as error:  # closed, full, or its reader is gone
                    self._size -= len(data)
                    self._torn = self._torn or begun
                    self._give_up(lost, error)
                else:
                    self._torn = False
                    sent = max(0, sent)
                    self._size -= sent
                    if sent < len(data):
                        self._queue.appendleft(_Queued(data[sent:], lost, begun=True))
                moved = True
            self._size = 0
            return moved
        finally:
            self._advancing = False

    def _give_up(self, lost: int, error: OSError) -> None:
        if lost:
            self._lost += lost  # it was the notice: those lines are counted
        else:
            self._drop(1)
        if error.errno == errno.EBADF:  # a task has closed all files but for the first three
            self._open()

    def _send(self, data: bytes) -> int:
        if not self._is_pipe:
            return self._write(data)
        long = len(data) > PIPE_BUF
        if long and not self._fits(len(data)):
            raise BlockingIOError
        # the kernel writes short lines whole; between the pages of a long one others could write theirs
        _lock(self._fd, (fcntl.LOCK_EX if long else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        try:
            return self._write(data)
        finally:
            _lock(self._fd, fcntl.LOCK_UN)

    def _fits(self, size: int) -> bool:
        """Whether a pipe takes a long line at once: a line cut off at the end of the process would spoil the next."""
        unread = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0]
        # two neighbouring pages of a pipe hold more than one page together: that bounds what is left of them
        return not unread or size <= fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ) - 2 * unread - 3 * PIPE_BUF

    # -- the thread

    def _begin_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="dueq-log", daemon=True)
        with suppress(RuntimeError):  # no room for a thread, or the interpreter is ending: the next line tries again
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while True:
            self._step(_POLL_S)
            with self._lock:
                if not self._queue:
                    self._say_what_is_lost()
                    self._advance()
                if not self._queue:
                    self._thread = None
                    return

    def _step(self, seconds: float) -> bool:
        """Wait for room for ``seconds`` at most, and use it; True if there was any for the next line."""
        poll = select.poll()
        if self._fd >= 0:
            poll.register(self._fd, select.POLLOUT)
        there_is_room = bool(poll.poll(seconds * 1000))
        with self._lock:
            moved = self._advance()
        if there_is_room and not moved:
            time.sleep(_RETRY_S)
        return moved


def _lock(fd: int, how: int) -> None:
    try:
        fcntl.flock(fd, how)
    except BlockingIOError:
        raise
    except OSError:  # a system that does not lock pipes: lines of other processes may cut into long ones
        return


def _opened(fd: int) -> tuple[int, bool, Write]:
    """A descriptor of our own for the file of ``fd``, whether that is a pipe, and a function that writes to it without
    waiting."""
    try:
        kind = os.fstat(fd).st_mode
        own = os.dup(fd)
    except OSError:
        return -1, False, _nowhere
    if stat.S_ISSOCK(kind):
        return own, False, _to_socket(own)
    if not stat.S_ISFIFO(kind) and not os.isatty(own):
        return own, False, lambda data: os.write(own, data)
    try:
        opened = os.open(f"/proc/self/fd/{own}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # no /proc, or it is another user's: then by looking for room first, which others might take
        return own, False, _after_a_look(own)
    os.close(own)
    return opened, stat.S_ISFIFO(kind), lambda data: os.write(opened, data)


def _to_socket(fd: int) -> Write:
    sending = socket.socket(fileno=os.dup(fd))
    return lambda data: sending.send(data, socket.MSG_DONTWAIT)


def _after_a_look(fd: int) -> Write:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)

    def write(data: bytes) -> int:
        if not poll.poll(0):
            raise BlockingIOError
        return os.write(fd, data[:PIPE_BUF])

    return write


def _nowhere(data: bytes) -> int:
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


_current: Output | None = None
_form: Callable[[str], str] | None = None


def stderr(notice: Callable[[int], str]) -> Output:
    """The process's one way to stderr, made anew if that has become another file."""
    global _current
    if _current is None:
        atexit.register(_at_exit)
        os.register_at_fork(after_in_child=_in_child)
    elif _current.leads_to_stderr():
        return _current
    before, _current = _current, Output(notice)
    if before is not None:
        before.close()
        _current.take_over(before)
    return _current


def say(text: str, line: str) -> bool:
    """Write ``text`` to where log lines go; False if this process has no such output.

    It is written as ``line``, unless the log has a form of its own.
    """
    if _current is None:
        return False
    _current.write(line if _form is None else _form(text))
    return True


def say_as(form: Callable[[str], str] | None) -> None:
    """Text written beside the log becomes a line as ``form`` makes it; None: as it is."""
    global _form
    _form = form


def count_dropped(count: Callable[[float], object]) -> None:
    """Call ``count`` with how many lines this process has dropped so far, and then whenever it drops some."""
    if _current is not None:
        _current.count_with(count)


def _at_exit() -> None:
    if _current is not None:
        _current.close()


def _in_child() -> None:
    if _current is not None:
        _current.forked()
