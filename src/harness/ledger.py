"""The outside ledger: what tasks did, written by the tasks themselves, and independent of dueq and Redis.

A task appends one line when it starts and one when it has finished. Each line is a single write to a file opened for
appending. The kernel appends it whole, however many processes write at once, and keeps it even if the writer is killed
the next instant. (A power cut may lose lines; a replay does not survive one either.)

    S id start_us due_us token attempt pid cause
    F id finish_us token pid
    X id raised_us token pid

The cause says why the task starts again (``Context.cause``); it is ``-`` at the first start.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ConfigurationError

DIRECTORY_VARIABLE = "DUEQ_REPLAY_LEDGER"
FILE_NAME = "ledger"
_ID = re.compile(r"\S{1,200}")


@dataclass(frozen=True, slots=True)
class Start:
    """A task began. Times are epoch microseconds by the clock of the worker's host."""

    id: str
    at_us: int
    due_us: int
    token: int
    attempt: int
    pid: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """A task finished. The time is by the same clock."""

    id: str
    at_us: int
    token: int
    pid: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A task raised an exception. The time is by the same clock."""

    id: str
    at_us: int
    token: int
    pid: int


Entry = Start | Finish | Failure


class Ledger:
    """The writer of the ledger, in a task's process."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError if the file cannot be opened."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(directory / FILE_NAME, flags, 0o600)

    def start(self, entry: Start) -> None:
        """Raises OSError if the line was not written whole (a full disk)."""
        words = (entry.at_us, entry.due_us, entry.token, entry.attempt, entry.pid, entry.cause or "-")
        self._append(f"S {_word(entry.id)} {' '.join(map(str, words))}\n")

    def finish(self, entry: Finish) -> None:
        """Raises OSError if the line was not written whole (a full disk)."""
        self._append(f"F {_word(entry.id)} {entry.at_us} {entry.token} {entry.pid}\n")

    def failure(self, entry: Failure) -> None:
        """Raises OSError if the line was not written whole (a full disk)."""
        self._append(f"X {_word(entry.id)} {entry.at_us} {entry.token} {entry.pid}\n")

    def close(self) -> None:
        os.close(self._file)

    def _append(self, line: str) -> None:
        data = line.encode()
        if (written := os.write(self._file, data)) != len(data):
            raise OSError(f"the ledger took {written} of {len(data)} bytes: is the disk full?")


@functools.cache
def ledger_of(directory: str) -> Ledger:
    """The ledger in ``directory``, opened once in each process. Raises ConfigurationError if none is named."""
    if not directory:
        raise ConfigurationError(f"no ledger to write to: set {DIRECTORY_VARIABLE} to a directory")
    return Ledger(Path(directory))


class LedgerReader:
    """The reader of the ledger: each ``read`` returns what was appended since the last one."""

    def __init__(self, directory: Path) -> None:
        """The file need not be there yet."""
        self._path = directory / FILE_NAME
        self._position = 0
        self._tail = b""
        self.garbled = 0
        """How many whole lines are not entries: 0, unless a disk was full."""

    @property
    def torn(self) -> bool:
        """True if the file ended, at the last read, in the middle of a line."""
        return bool(self._tail)

    def read(self) -> Iterator[Entry]:
        """The new entries, in the order they were written. An incomplete line is left for the next read."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return
        self._position += len(data)
        *lines, self._tail = (self._tail + data).split(b"\n")
        for line in lines:
            if (entry := parse(line)) is None:
                self.garbled += 1
            else:
                yield entry


def parse(line: bytes) -> Entry | None:
    """The entry of one line; None if the line is not an entry."""
    try:
        kind, task_id, *words = line.decode().split(" ")
        if kind == "S":
            *numbers, cause = words
            at_us, due_us, token, attempt, pid = map(int, numbers)
            return Start(task_id, at_us, due_us, token, attempt, pid, cause.strip("-"))
        if kind in ("F", "X"):
            at_us, token, pid = map(int, words)
            return (Finish if kind == "F" else Failure)(task_id, at_us, token, pid)
    except ValueError:
        pass
    return None


def _word(task_id: str) -> str:
    if not _ID.fullmatch(task_id):
        raise ValueError(f"task id {task_id!r} does not fit into a ledger line: no spaces, at most 200 characters")
    return task_id
