"""What a process writes to stderr before it can log, kept for its supervisor.

Python reports a broken installation or a missing library in tracebacks, the system in texts of its own. A reader of the
log gets one line instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from typing import Any

from multiprocess import reduction

from ..telemetry.counters import anonymous_file

_STDERR = 2
_MOST_BYTES = 64 * 1024


class FirstWords:
    """Memory that is one child's stderr until ``over``. The child is started with it, and gets this object, too."""

    def __init__(self) -> None:
        """Raises OSError if there is no memory or file for it."""
        self._fd = anonymous_file(0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, os.O_APPEND)  # so that it may be emptied while another process has it
            self._stderr = fcntl.fcntl(_STDERR, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)
        except OSError:
            os.close(self._fd)
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {"fd": reduction.DupFd(self._fd), "stderr": reduction.DupFd(self._stderr)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fd, self._stderr = state["fd"].detach(), state["stderr"].detach()

    def fileno(self) -> int:
        """What the child has as its stderr."""
        return self._fd

    @contextlib.contextmanager
    def over(self) -> Iterator[str]:
        """In the child: restore its stderr, for good unless the block raises. The value is what was written so far."""
        sys.stderr.flush()
        os.dup2(self._stderr, _STDERR)
        try:
            yield self.read()
        except BaseException:
            os.dup2(self._fd, _STDERR)
            raise
        self.close()

    def read(self) -> str:
        """What was written since the last read, as one line; empty if nothing was."""
        lines = os.pread(self._fd, _MOST_BYTES, 0).decode(errors="replace").splitlines()
        os.truncate(self._fd, 0)
        return " | ".join(words for line in lines if (words := line.strip(" ^~")))

    def close(self) -> None:
        """Give both files back."""
        os.close(self._fd)
        os.close(self._stderr)
