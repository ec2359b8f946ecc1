"""Job logs: what was due when, and for how long it ran.

There are two formats: the Standard Workload Format of the Parallel Workloads Archive, and CSV lines
``due_s,duration_s``. Each may be plain or packed by gzip, bzip2 or xz. The content of the file decides which it is.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..core.errors import ConfigurationError

CSV_HEADER = "due_s,duration_s"
_UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
_NOT_UNPACKED = {b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}
# not str.splitlines(), which also ends a line at a form feed and other characters that occur inside records
_LINE_END = re.compile(r"\r\n|\n|\r")
_COMMENT = re.compile(r"[#;].*")
_SWF_SUBMIT, _SWF_RUN = 1, 3  # fields 2 and 4, counted from 1 as the format's definition does
_SWF_UNKNOWN = -1.0
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """One job of a log. Both times are seconds; ``due_s`` counts from the beginning of the log."""

    due_s: float
    duration_s: float


class Trace(NamedTuple):
    """A log: its jobs by due time, and how many records were skipped because their submit time is unknown."""

    jobs: list[Job]
    skipped: int


def builtin() -> Path:
    """The log that travels with dueq: 18,239 jobs of NASA's iPSC/860, October to December 1993."""
    return Path(__file__).with_name("data") / "nasa-ipsc-1993.csv.gz"


def read_trace(path: Path) -> Trace:
    """The log at ``path``. A record without a known submit time (-1) is skipped and counted.

    Raises ConfigurationError, with file and line and what was expected there, if it cannot be read or has no job.
    """
    lines = read_lines(path)
    parse = _parser(path, lines)
    found = [job for number, line in enumerate(lines, 1) for job in parse(f"{path}, line {number}", line)]
    jobs = sorted(job for job in found if job is not None)
    if not jobs:
        raise ConfigurationError(f"{path} has no job: expected a log in Standard Workload Format, or CSV {CSV_HEADER}")
    return Trace(jobs, len(found) - len(jobs))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, unpacked if need be. Raises ConfigurationError if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    return _LINE_END.split(_text(_unpacked(path, content)))


def _unpacked(path: Path, content: bytes) -> bytes:
    for magic, name in _NOT_UNPACKED.items():
        if content.startswith(magic):
            raise ConfigurationError(f"{path} is a {name} archive: unpack it first, or pack it by gzip, bzip2 or xz")
    for magic, unpack in _UNPACK.items():
        if content.startswith(magic):
            try:
                return unpack(content)
            except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise ConfigurationError(f"cannot unzip {path}: {error}; is the file complete?") from error
    return content


def _text(content: bytes) -> str:
    if content.startswith(_UTF_16):  # what spreadsheets call Unicode text
        return content.decode("utf-16", errors="replace")
    # without the byte-order mark; comments of old logs may be in any encoding, and the records are ASCII
    return content.decode("utf-8-sig", errors="replace")


def _parser(path: Path, lines: list[str]) -> Callable[[str, str], Iterator[Job | None]]:
    """The parser of the lines, chosen by the first line that is neither blank nor a comment."""
    for number, line in enumerate(lines, 1):
        text = _bare(line)
        if "," in text:
            return _csv_line
        if len(text.split()) > _SWF_RUN:
            return _swf_line
        if text:
            first = line.split()[0]
            if _number(first) is not None:  # a record that is cut short: say which fields it lacks
                return _swf_line if len(text.split()) > 1 else _csv_line
            raise ConfigurationError(
                f"{path}, line {number}: expected a record in Standard Workload Format or CSV {CSV_HEADER}, "
                f"or a comment after ; or #, not {_shown(line)}"
            )
    return _csv_line


def _bare(line: str) -> str:
    """A line without its comment. Logs of either format have both kinds of comment."""
    return _COMMENT.sub("", line).strip()


def _swf_line(where: str, line: str) -> Iterator[Job | None]:
    fields = _bare(line).split()
    if not fields:
        return
    if len(fields) <= _SWF_RUN:
        raise ConfigurationError(
            f"{where}: expected at least {_SWF_RUN + 1} fields (Standard Workload Format), not {_shown(line)}"
        )
    submit, run = _number(fields[_SWF_SUBMIT]), _number(fields[_SWF_RUN])
    if submit is None or (submit < 0 and submit != _SWF_UNKNOWN):
        raise ConfigurationError(
            f"{where}: expected the submit time in seconds, or -1, as field 2, not {fields[_SWF_SUBMIT]!r}"
        )
    if run is None or (run < 0 and run != _SWF_UNKNOWN):
        raise ConfigurationError(
            f"{where}: expected the run time in seconds, or -1, as field 4, not {fields[_SWF_RUN]!r}"
        )
    yield None if submit == _SWF_UNKNOWN else Job(submit, max(0.0, run))


def _csv_line(where: str, line: str) -> Iterator[Job | None]:
    text = _bare(line)
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
