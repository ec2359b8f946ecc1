"""What Linux can do for a process or a thread; elsewhere nothing happens."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_TIMERSLACK = 29

_libc = ctypes.CDLL(None)


def prctl(option: int, value: int) -> None:
    """See prctl(2). An option that the kernel does not know is ignored."""
    if sys.platform == "linux":
        _libc.prctl(option, ctypes.c_ulong(value))


def wake_precisely() -> None:
    """Ask Linux not to group this thread's wake-ups with later ones to save power: by default each may be up to 50
    microseconds late (PR_SET_TIMERSLACK). For processes that wake up for each due task."""
    prctl(_PR_SET_TIMERSLACK, 1)
