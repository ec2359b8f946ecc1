"""The outside ledger of the bench: which task started when, and how often it started and finished.

A line in a file (``harness.ledger``) costs a task some 10 µs, a tenth of what dueq itself should take, so it would
distort a suite that measures rates. Marks cost less than 1 µs: each worker writes numbers into a file of its own that
is mapped into its memory, a row for each task. Marks are as reliable as the ledger: the pages belong to the kernel, so
a SIGKILL takes nothing back; no other process writes there; and there is a row for each task, not a sum, which shows
whether the task was lost, early or run twice. A power cut would lose marks, but it also ends the measurement.

A file has int64 cells: the number of all starts and of all finishes, then for each task the time of its first start
(epoch microseconds by the worker's clock), its starts, and its finishes.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CAPACITY = 1 << 16
"""Most tasks of one run. The files are sparse: unwritten rows take no room."""

_STARTS, _FINISHES, _HEAD = 0, 1, 2
_ROW = 3
_CELL = 8
_SIZE = _CELL * (_HEAD + _ROW * CAPACITY)
_PREFIX = "marks-"


class Marks:
    """The writer of marks, in a worker."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError if the file cannot be made."""
        file = os.open(directory / f"{_PREFIX}{os.getpid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, _SIZE)  # keeps the marks of an earlier process with the same pid
            self._cells = memoryview(mmap.mmap(file, _SIZE)).cast("q")
        finally:
            os.close(file)

    def start(self, number: int) -> None:
        """Task ``number`` starts now."""
        cells, row = self._cells, _HEAD + _ROW * number
        if not cells[row + 1]:
            cells[row] = time.time_ns() // 1000
        cells[row + 1] += 1
        cells[_STARTS] += 1

    def finish(self, number: int) -> None:
        """Task ``number`` has finished."""
        cells = self._cells
        cells[_HEAD + _ROW * number + 2] += 1
        cells[_FINISHES] += 1


@dataclass(frozen=True, slots=True)
class Seen:
    """The marks of a task, over all workers: epoch microseconds of its earliest start (0: none), and counts."""

    first_us: int
    starts: int
    finishes: int


class MarksReader:
    """The reader of marks. It may read while workers write: a count may then be one behind."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, memoryview] = {}

    def finishes(self) -> int:
        """How many finishes there were, of all tasks. It is cheap, so that a run can be watched."""
        return sum(cells[_FINISHES] for cells in self._all())

    def of(self, numbers: Iterable[int]) -> dict[int, Seen]:
        """The marks of each of these tasks."""
        every = list(self._all())
        return {number: _merged(every, _HEAD + _ROW * number) for number in numbers}

    def _all(self) -> Iterator[memoryview]:
        for path in self._directory.glob(f"{_PREFIX}*"):
            if path.name not in self._files and path.stat().st_size == _SIZE:  # else it is being made
                with path.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), _SIZE, prot=mmap.PROT_READ)
                self._files[path.name] = memoryview(mapped).cast("q")
        return iter(self._files.values())


def _merged(every: list[memoryview], row: int) -> Seen:
    firsts = [cells[row] for cells in every if cells[row + 1]]
    return Seen(min(firsts, default=0), sum(cells[row + 1] for cells in every), sum(cells[row + 2] for cells in every))
