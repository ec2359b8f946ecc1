"""The application that the bench runs: ``dueq run dueq.bench.tasks:app``."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

from ..core.app.application import Dueq
from ..harness.ledger import DIRECTORY_VARIABLE
from .marks import Marks

TARGET = "dueq.bench.tasks:app"
QUEUE = "bench"
_POLL_S = 0.001

app = Dueq()


@app.task(queue=QUEUE, retries=0, name="mark")
def mark(number: int, padding: str = "") -> None:
    """Mark that task ``number`` started and finished, and do nothing else. ``padding`` is payload."""
    marks = _marks()
    marks.start(number)
    marks.finish(number)


@app.task(queue=QUEUE, retries=0, name="gate")
def gate(door: str) -> None:
    """Make a file ``door.in``, then keep this worker busy until there is a file ``door``. The first mark then finds its
    file open."""
    _marks()
    Path(f"{door}.in").touch()
    while not Path(door).exists():
        time.sleep(_POLL_S)


@functools.cache
def _marks() -> Marks:
    return Marks(Path(os.environ[DIRECTORY_VARIABLE]))
