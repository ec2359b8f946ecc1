"""The append-only file of a server, and what a power cut takes of it: the writes of the last seconds."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

_RECORD = b":r:"  # in the key of every hash of records
_SAMPLE_S = 0.01
_SAMPLES = 1000


@dataclass(slots=True)
class Cut:
    """What was cut off: how many writes, the tasks whose records they touched, and those whose scheduling is gone."""

    writes: int = 0
    touched: set[str] = field(default_factory=set)
    scheduled: set[str] = field(default_factory=set)


class AppendOnly:
    """The append-only file in ``directory``, watched as it grows. A context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sizes: deque[tuple[float, Path, int]] = deque(maxlen=_SAMPLES)
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> AppendOnly:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watch.join()

    def cut(self, seconds: float) -> Cut:
        """Cut off what was written in the last ``seconds``. The server must be dead by now."""
        file, size = self._file(), 0
        since = time.monotonic() - seconds
        for at, sampled, size_then in list(self._sizes):
            if sampled == file and at <= since:
                size = size_then
        lost = difference(file.read_bytes(), size)
        os.truncate(file, size)
        return lost

    def _file(self) -> Path:
        """The file that the server writes to: the last increment, or before Redis 7 the only file."""
        increments = self._directory.glob("appendonlydir/*.incr.aof")
        return max(
            increments, key=lambda path: int(path.name.split(".")[-3]), default=self._directory / "appendonly.aof"
        )

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            file = self._file()
            if file.exists():
                self._sizes.append((time.monotonic(), file, file.stat().st_size))


def difference(data: bytes, size: int) -> Cut:
    """What a server loses that loads only the first ``size`` bytes of ``data``."""
    loaded, lost = set[str](), Cut()
    for end, command in _steps(data):
        saved, erased = _saved(command), _erased(command)
        if end > size:
            lost.writes += 1
            lost.touched |= saved | erased
        else:
            loaded = (loaded | saved) - erased
    lost.scheduled = lost.touched - loaded
    return lost


def _steps(data: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Every command, and where its step ends. A transaction is one step: the server loads all of it, or nothing."""
    waiting: list[list[bytes]] = []
    inside = False
    for end, command in _commands(data):
        waiting.append(command)
        inside = (inside or command[0].upper() == b"MULTI") and command[0].upper() != b"EXEC"
        if not inside:
            yield from ((end, one) for one in waiting)
            waiting = []
    yield from ((len(data) + 1, one) for one in waiting)


def _commands(data: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Every whole command, and where it ends."""
    at = 0
    while data[at : at + 1] == b"*":
        line = data.find(b"\r\n", at)
        count, at, words = int(data[at + 1 : line]), line + 2, list[bytes]()
        for _ in range(count):
            line = data.find(b"\r\n", at)
            if line < 0:
                return
            start = line + 2
            at = start + int(data[at + 1 : line]) + 2
            words.append(data[start : at - 2])
        if at > len(data):
            return
        yield at, words


def _is_record(command: list[bytes]) -> bool:
    return len(command) > 2 and _RECORD in command[1]


def _erased(command: list[bytes]) -> set[str]:
    """The tasks whose records the command deletes."""
    return {raw.decode() for raw in command[2:]} if command[0].upper() == b"HDEL" and _is_record(command) else set()


def _saved(command: list[bytes]) -> set[str]:
    """The tasks whose records the command writes."""
    writes = command[0].upper() in (b"HSET", b"HSETNX", b"HMSET") and _is_record(command)
    return {raw.decode() for raw in command[2::2]} if writes else set()
