"""Directories whose names are so short that the path of a socket fits in; pytest's own are too long.

A test that is killed leaves its own behind. Each is locked by its process while that lives, so the next run of tests
knows which are nobody's, and removes them.
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
_YOUNG_S = 60.0  # one that was made just now may not be locked yet


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory of one's own, removed at the end."""
    _sweep_once()
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        lock = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(lock)


def sweep() -> None:
    """Remove what processes left that are gone."""
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
