"""Directories with names short enough for the path of a socket; those of pytest are too long.

A test that is killed leaves its directory behind. Each process locks its directories while it lives, so the next run of
tests knows which ones are abandoned, and removes them.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "dueq-t-"
_YOUNG_S = 60.0  # a directory that was made just now may not be locked yet


@contextmanager
def short_directory() -> Iterator[Path]:
    """A new directory, removed at the end."""
    _sweep_once()
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        lock = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(lock)


def sweep() -> None:
    """Remove the directories of processes that are gone."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # of another user, or just gone
            if _is_left(directory):
                shutil.rmtree(directory)


_sweep_once = functools.cache(sweep)


def _is_left(directory: Path) -> bool:
    if time.time() - directory.stat().st_mtime < _YOUNG_S:
        return False
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
