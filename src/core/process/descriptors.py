"""The three standard descriptors, which every program takes for granted.

Some daemons are started with one of them closed. The next file that the process opens would get its number: a socket,
or the memory of the counters. Whatever is printed would be written into that.
"""

from __future__ import annotations

import os
import select
import sys

_NAMES = ("stdin", "stdout", "stderr")


def open_missing() -> None:
    """Open /dev/null on each of the descriptors 0, 1 and 2 that is closed. Call it before anything is opened."""
    for fd, name in enumerate(_NAMES):
        if not _is_open(fd):
            _put_null_on(fd)
        if _is_closed(getattr(sys, name)):  # there is none where Python was started without its descriptor
            stream = open(fd, "w" if fd else "r", closefd=False)  # noqa: SIM115  # it stays open
            setattr(sys, name, stream)


class Standard:
    """The standard descriptors and streams of a process that runs other people's code, which may close them."""

    def __init__(self) -> None:
        self._poll = select.poll()
        for fd in range(len(_NAMES)):
            self._poll.register(fd, 0)

    def renew(self) -> None:
        """Open again what was closed. If nothing was, it costs less than a microsecond."""
        if self._poll.poll(0) or _is_closed(sys.stdout) or _is_closed(sys.stderr):
            open_missing()


def read_nothing() -> None:
    """Make standard input empty.

    The kernel stops a process outside of the terminal's foreground, or a program that it starts, when it reads there.
    """
    _put_null_on(0)


def _is_closed(stream: object) -> bool:
    return stream is None or getattr(stream, "closed", False) is True


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _put_null_on(fd: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY if fd else os.O_RDONLY)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
    os.set_inheritable(fd, True)
