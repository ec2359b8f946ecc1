"""Job logs: what was due when, and for how long it ran.

Two formats are read, told apart by their content, each plain or gzipped: the Standard Workload Format of the
Parallel Workloads Archive, and CSV lines ``due_s,duration_s``.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ConfigurationError

CSV_HEADER = "due_s,duration_s"
_GZIP_MAGIC = b"\x1f\x8b"
_SWF_SUBMIT, _SWF_RUN = 1, 3  # fields 2 and 4, counted from 1 as the format's definition does
_SWF_UNKNOWN = -1.0


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """One job of a log. Both are seconds; ``due_s`` counts from whatever moment the log begins at."""

    due_s: float
    duration_s: float


def builtin() -> Path:
    """The log that travels with dueq: 18,239 jobs of NASA's iPSC/860, October to December 1993."""
    return Path(__file__).with_name("data") / "nasa-ipsc-1993.csv.gz"


def read_trace(path: Path) -> list[Job]:
    """The jobs of the log at ``path``, by due time.

    Raises ConfigurationError, with file and line and what was expected there, if it cannot be read or has no job.
    """
    lines = read_lines(path)
    parse = _parser(path, lines)
    jobs = sorted(job for number, line in enumerate(lines, 1) for job in parse(f"{path}, line {number}", line))
    if not jobs:
        raise ConfigurationError(f"{path} has no job: expected a log in Standard Workload Format, or CSV {CSV_HEADER}")
    return jobs


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, unzipped if need be. Raises ConfigurationError if it cannot be read."""
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
    except OSError as error:  # includes gzip's BadGzipFile
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise ConfigurationError(f"cannot unzip {path}: {error}; is the file complete?") from error
    # comments of old logs come in any encoding; what is counted here is ASCII
    return content.decode("utf-8", errors="replace").splitlines()


def _parser(path: Path, lines: list[str]) -> Callable[[str, str], Iterator[Job]]:
    """How to read a line: by the first that is not blank, a comment or a record."""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith(("#", ";")):
            return _csv_line if text.startswith("#") else _swf_line
        if "," in text:
            return _csv_line
        if len(text.split()) > _SWF_RUN:
            return _swf_line
        if text:
            raise ConfigurationError(
                f"{path}, line {number}: expected a record in Standard Workload Format or CSV {CSV_HEADER}, "
                f"or a comment after ; or #, not {_shown(line)}"
            )
    return _csv_line


def _swf_line(where: str, line: str) -> Iterator[Job]:
    fields = line.split(";", 1)[0].split()
    if not fields:
        return
    if len(fields) <= _SWF_RUN:
        raise ConfigurationError(
            f"{where}: expected at least {_SWF_RUN + 1} fields (Standard Workload Format), not {_shown(line)}"
        )
    submit, run = _number(fields[_SWF_SUBMIT]), _number(fields[_SWF_RUN])
    if submit is None or submit < 0:
        raise ConfigurationError(
            f"{where}: expected the submit time in seconds as field 2, not {fields[_SWF_SUBMIT]!r}"
        )
    if run is None or (run < 0 and run != _SWF_UNKNOWN):
        raise ConfigurationError(
            f"{where}: expected the run time in seconds, or -1, as field 4, not {fields[_SWF_RUN]!r}"
        )
    yield Job(submit, max(0.0, run))


def _csv_line(where: str, line: str) -> Iterator[Job]:
    text = line.split("#", 1)[0].strip()
    if not text or text.replace(" ", "").lower() == CSV_HEADER:
        return
    due, duration = [_number(field) for field in text.split(",")] if text.count(",") == 1 else (None, None)
    if due is None or duration is None or duration < 0:
        raise ConfigurationError(
            f"{where}: expected {CSV_HEADER} (two numbers, no negative duration), not {_shown(line)}"
        )
    yield Job(due, duration)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _shown(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "...")
