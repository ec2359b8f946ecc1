"""Processes that stand still for a while."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence

import psutil


@contextlib.contextmanager
def stopped(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stop them by a signal that they cannot handle; they go on afterwards."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
