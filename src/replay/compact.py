"""Make the compact form of a log: ``python -m dueq.replay.compact IN OUT [NOTE...]``.

The compact form keeps the two numbers of each job that a replay needs, and all comments of the log, since they say
whom to thank. The same input always gives the same bytes (with the same zlib).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import sys
from pathlib import Path

from ..core.errors import ConfigurationError
from .traces import CSV_HEADER, read_lines, read_trace

_MAIL = re.compile(r"\s*\(\S+@\S+\)")


def compact(source: Path, notes: list[str]) -> bytes:
    """The log ``source`` as gzipped CSV, with ``notes`` and its own head as comments. Raises ConfigurationError."""
    jobs = read_trace(source).jobs
    head = [f"Compact form of {source.name}: submit time and run time of {len(jobs)} jobs, in seconds", *notes, ""]
    for line in read_lines(source):
        if line.startswith(";"):
            head.append(_MAIL.sub("", line[1:]).strip())
    text = io.StringIO()
    for line in head:
        text.write(f"# {line}".rstrip() + "\n")
    text.write(CSV_HEADER + "\n")
    for job in jobs:
        text.write(f"{job.due_s:.15g},{job.duration_s:.15g}\n")
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def digest(path: Path) -> str:
    """SHA-256 over the jobs alone, the same for a log and for its compact form. Raises ConfigurationError."""
    rows = "".join(f"{job.due_s:.15g},{job.duration_s:.15g}\n" for job in read_trace(path).jobs)
    return hashlib.sha256(rows.encode()).hexdigest()


def main(arguments: list[str]) -> int:
    """The command line; returns its exit status."""
    if len(arguments) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    source, target, *notes = arguments
    try:
        Path(target).write_bytes(compact(Path(source), notes))
        sys.stdout.write(f"{target}: {Path(target).stat().st_size} bytes, jobs' SHA-256 {digest(Path(target))}\n")
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
