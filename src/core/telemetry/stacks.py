"""What every thread of a process is doing, for the log.

A child writes its stacks into memory that it shares with its supervisor when it gets SIGUSR1. That is done by C code in
the signal handler (``faulthandler``), so it works, too, where Python code does not get to run any more.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import re
import signal
import time
from typing import Any

from multiprocess import reduction

from .counters import anonymous_file

_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)')
_THREAD = re.compile(r"(?P<current>Current t|T)hread (?:0x)?(?P<id>[0-9a-f]+)")
_MOST_BYTES = 64 * 1024  # of one look: a process signalled over and over must not flood the log
_QUIET_S = 0.1  # after the last byte, before all is taken to be there: nothing marks the end


class StackFile:
    """Memory that one process writes its stacks into and another reads. Give it to a child as part of its order."""

    def __init__(self) -> None:
        self._fd = anonymous_file(0)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, os.O_APPEND)  # so that it may be emptied while another process has it

    def __getstate__(self) -> dict[str, Any]:
        return {"fd": reduction.DupFd(self._fd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fd = state["fd"].detach()

    def write_on_signal(self) -> None:
        """Write the stacks of this process here whenever it gets SIGUSR1."""
        os.set_inheritable(self._fd, False)
        faulthandler.unregister(
            signal.SIGUSR1
        )  # or faulthandler would think that it is registered, whatever handles that signal now
        faulthandler.register(signal.SIGUSR1, file=self._fd, all_threads=True)

    def write(self) -> None:
        """Write the stacks of this process now."""
        faulthandler.dump_traceback(self._fd, all_threads=True)

    def read(self, *, over: bool = False) -> str:
        """What was written since the last read, as one line; empty if nothing was.

        What may be in the middle of being written is left for a later read, unless the writing is known to be ``over``.
        """
        status = os.fstat(self._fd)
        if not status.st_size or (not over and abs(time.time() - status.st_mtime) < _QUIET_S):
            return ""
        text = os.pread(self._fd, _MOST_BYTES, 0)
        os.truncate(self._fd, 0)
        return one_line(text.decode(errors="replace"))

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._fd)


def one_line(text: str) -> str:
    """Stacks as ``faulthandler`` writes them, as one line: the innermost call first, threads apart by ``;``."""
    threads: list[list[str]] = []
    for line in text.splitlines():
        if thread := _THREAD.match(line):
            threads.append(["main thread" if thread["current"] == "Current t" else f"thread {thread['id']}"])
        elif threads and (frame := _FRAME.match(line)):
            threads[-1].append(f"{frame['function']} ({frame['file']}:{frame['line']})")
    return "; ".join(f"{name}: {' < '.join(frames) or 'no Python code'}" for name, *frames in threads)
