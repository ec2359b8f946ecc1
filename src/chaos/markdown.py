"""Put the table of a chaos matrix into a page: ``python -m dueq.chaos.markdown RUNS.jsonl PAGE.md``.

RUNS is the output of ``dueq chaos --json``. The table replaces the text between two markers of the page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..harness.markdown import put
from .report import Report
from .scenarios import SCENARIOS

BEGIN, END = "<!-- matrix: made by make chaos -->", "<!-- end of matrix -->"


def table(reports: Sequence[Report]) -> str:
    """A row for each scenario, and a column for each strategy, with verdict, counts and lateness."""
    found = {(report["scenario"], report["strategy"]): report for report in reports}
    scenarios = [name for name in SCENARIOS if any(name == scenario for scenario, _ in found)]
    strategies = list(dict.fromkeys(strategy for _, strategy in found))
    lines = [
        "| scenario | " + " | ".join(f"`{name}`" for name in strategies) + " |",
        "| --- " * (len(strategies) + 1) + "|",
    ]
    for scenario in scenarios:
        cells = [_cell(found.get((scenario, strategy))) for strategy in strategies]
        lines.append(f"| `{scenario}` | " + " | ".join(cells) + " |")
    notes = [
        f"- `{report['scenario']}`, `{report['strategy']}`: {note}"
        for (scenario, _), report in sorted(found.items(), key=lambda item: scenarios.index(item[0][0]))
        for note in [*_failures(report), *report["notes"]]
    ]
    return "\n".join([*lines, "", *notes])


def _cell(report: Report | None) -> str:
    if report is None:
        return "–"
    p50, p99 = report["lateness_ms"]["p50"], report["lateness_ms"]["p99"]
    facts = [f"{'met' if report['ok'] else '**not met**'}, {report['finished']:,} done"]
    facts += [f"{name} {report[name]}" for name in ("lost", "early") if report[name]]
    facts += [f"{cause} {count}" for cause, count in report["duplicates"].items() if count]
    if p50 is not None and p99 is not None:
        facts.append(f"late {p50:.0f} / {p99:.0f} ms")
    return "<br>".join(facts)


def _failures(report: Report) -> list[str]:
    return [
        f"NOT MET: {c['what']}: {c['measured']} (expected {c['expected']})" for c in report["checks"] if not c["ok"]
    ]


def main(arguments: Sequence[str]) -> int:
    """The command line; returns its exit status."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    runs, page = map(Path, arguments)
    reports = [json.loads(line) for line in runs.read_text(encoding="utf-8").splitlines()]
    page.write_text(put(page.read_text(encoding="utf-8"), table(reports), BEGIN, END), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
