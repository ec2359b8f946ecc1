"""Tying the life of a process to its parent's."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent(how: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to send ``how`` to this process when the thread that started it ends; elsewhere do nothing."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, how)


def stop_with_parent() -> None:
    """For ``preexec_fn``: SIGTERM when the parent ends, however it does."""
    end_with_parent(signal.SIGTERM)
