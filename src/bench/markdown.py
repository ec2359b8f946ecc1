"""Put the results of the bench into a page: ``python -m dueq.bench.markdown RUNS.jsonl PAGE.md [PLOTS]``.

RUNS is the output of ``dueq bench --json``. The tables replace the text between two markers of the page. PLOTS is a
directory for the pictures.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import strategies
from ..core.errors import ConfigurationError
from ..harness.markdown import put
from . import plots
from .figures import spell
from .report import Report, asides, columns, find, rows, troubles

BEGIN, END = "<!-- measured: made by make bench -->", "<!-- end of measured -->"

WEAKNESS = {
    "lua": "needs EVAL",
    "keyspace": "a second key for each task; every dispatcher wakes for every event",
    "tmpset": "the most round trips: two transactions a batch",
    "watch": "dispatchers undo each other's attempts",
    "buckets": "up to a second late",
}


def summary(reports: Sequence[Report]) -> str:
    """A row for each strategy: the figures that matter for the choice of one."""
    found = [number for report in reports for number in _dispatchers(report)]
    several = sorted(set(found))[1:]  # a single dispatcher has no conflicts
    head = [
        "", "late p50 / p99", "burst of two workers", "throughput of two workers", "commands a task",
        f"conflicts of {' / '.join(map(str, several))} dispatchers", "idle, a process", "Redis a pending task",
        "oldest server", "weakness",
    ]  # fmt: skip
    lines = [_line(head), _line(["---"] * len(head))]
    for report in reports:
        name = report["strategy"]
        lines.append(
            _line(
                [
                    f"`{name}`",
                    " / ".join(_figure(report, "lateness", f"started {q}") for q in ("p50", "p99")),
                    _figure(report, "burst", "started"),
                    _figure(report, "throughput", "done"),
                    _figure(report, "lateness", "commands a task"),
                    " / ".join(_figure(report, "dispatchers", "conflicts", number) for number in several) or "–",
                    _figure(report, "idle", "commands a process"),
                    _figure(report, "memory", "Redis a pending task"),
                    _oldest(name),
                    WEAKNESS.get(name, "–"),
                ]
            )
        )
    return "\n".join(lines)


def everything(reports: Sequence[Report]) -> str:
    """A table of every figure, with a column for each strategy, and the notes."""
    lines = [_line(columns(reports)), _line(["---"] * len(columns(reports)))]
    lines += [_line(row) for row in rows(reports)]
    notes = [f"- {report['strategy']}: NOT CLEAN: {trouble}" for report in reports for trouble in troubles(report)]
    # the missed targets are in the table
    notes += [f"- {aside}" for aside in asides(reports, missed=False)]
    return "\n".join([*lines, "", *notes])


def text(reports: Sequence[Report], pictures: Sequence[str]) -> str:
    """The text between the markers. ``pictures`` are links relative to the page."""
    servers = ", ".join(sorted({report["server"] for report in reports if report["server"]}))
    quick = " With `--quick`: too few for a verdict." if any(report["quick"] for report in reports) else ""
    parts = [
        f"On {servers}. In brackets: how many times its floor.{quick}",
        summary(reports),
        *(f"![{Path(link).stem}]({link})" for link in pictures),
        f"<details><summary>Every figure</summary>\n\n{everything(reports)}\n\n</details>",
    ]
    return "\n\n".join(parts)


def _dispatchers(report: Report) -> Iterator[int]:
    return (one["at"] for one in report["figures"] if one["suite"] == "dispatchers")


def _figure(report: Report, suite: str, name: str, at: int | None = None) -> str:
    """The value, and how many times its floor it is."""
    figure = find(report, suite, name, at)
    if figure is None:
        return "–"
    ratio = "" if figure["ratio"] is None else f" ({spell(figure['ratio'], '')} ×)"
    return spell(figure["value"], figure["unit"]) + ratio


def _oldest(name: str) -> str:
    try:
        return ".".join(map(str, strategies.find(name).needs.version))
    except ConfigurationError:  # a third party's, not installed here
        return "–"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str]) -> int:
    """The command line; returns its exit status."""
    if len(arguments) not in (2, 3):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    runs, page, *directory = map(Path, arguments)
    reports = [json.loads(line) for line in runs.read_text(encoding="utf-8").splitlines()]
    if not reports:
        sys.stderr.write(f"{runs} holds no report: nothing was put into {page}\n")
        return 1
    drawn = plots.draw(reports, directory[0]) if directory else []
    links = [Path(os.path.relpath(path, page.parent)).as_posix() for path in drawn]
    page.write_text(put(page.read_text(encoding="utf-8"), text(reports, links), BEGIN, END), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
