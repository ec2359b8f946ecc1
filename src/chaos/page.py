"""The page that ``dueq chaos --report`` writes: one HTML file with every run's verdict, plot and faults.

The page loads nothing else: no script, no font, no picture. Its content security policy forbids the browser to load
anything. It has no date, so the same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..harness.history import Point
from .plot import Mark, draw, in_order, spell_ms, spell_when, text

TITLE = "dueq under faults"
LISTED_OPEN = 10  # a longer list of faults is folded


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario against one strategy."""

    report: Mapping[str, Any]
    """What ``dueq chaos --json`` prints for it."""
    points: Sequence[Point]
    """Every start in the ledger, in any order; may be empty."""
    marks: Sequence[Mark]
    """Every fault injected, in any order."""


def render(runs: Sequence[Run]) -> str:
    """The whole HTML document; write it as UTF-8."""
    return "".join([_HEAD, _summary(runs), *(_section(number, run) for number, run in enumerate(runs, 1)), _FOOT])


def _summary(runs: Sequence[Run]) -> str:
    met = sum(bool(run.report["ok"]) for run in runs)
    kind = "ok" if runs and met == len(runs) else "bad"  # no run proves nothing
    verdict = f"{met} of {len(runs)} runs met their expectation"
    head = f'<h1>{TITLE}</h1>\n<p class="verdict"><span class="{kind}">{verdict}</span></p>\n'
    return f"{head}{_floor_of_the_machine(runs)}{_matrix(runs)}"


def _floor_of_the_machine(runs: Sequence[Run]) -> str:
    """How fast this machine wakes a process: a slow or busy machine makes tasks later, which is not dueq's fault."""
    floors = [floor for run in runs if (floor := run.report.get("floor_ms")) is not None]
    if not floors:
        return ""
    p50, p99 = (spell_ms(median(floor[name] for floor in floors)) for name in ("p50", "p99"))
    return (
        f"<p>This machine woke a blocked Redis client {p50} (p50) and {p99} (p99) after a push: medians, measured "
        f"before each run. No task can start sooner after its due time, so read lateness beside this floor.</p>\n"
    )


def _matrix(runs: Sequence[Run]) -> str:
    """A table with a row for each scenario and a column for each strategy, both in the order of the runs."""
    cells: dict[tuple[str, str], list[str]] = {}
    for number, run in enumerate(runs, 1):
        cells.setdefault((run.report["scenario"], run.report["strategy"]), []).append(_cell(number, run.report))
    strategies = list(dict.fromkeys(strategy for _, strategy in cells))
    rows = [
        f'<tr><th scope="row">{text(scenario)}</th>'
        + "".join(f"<td>{''.join(cells.get((scenario, strategy), ['–']))}</td>" for strategy in strategies)
        + "</tr>\n"
        for scenario in dict.fromkeys(scenario for scenario, _ in cells)
    ]
    return _table("All runs", "matrix", ["scenario", *strategies], rows)


def _cell(number: int, report: Mapping[str, Any]) -> str:
    kind, words = ("ok", "met") if report["ok"] else ("bad", "NOT MET")
    p99 = spell_ms(report["lateness_ms"]["p99"])
    return f'<a href="#run-{number}"><span class="{kind}">{words}</span> <small>p99 {p99}</small></a>'


def _section(number: int, run: Run) -> str:
    report = run.report
    kind, words = ("ok", "expectation met") if report["ok"] else ("bad", "expectation NOT MET")
    figures = "".join(f"<div><dt>{name}</dt><dd>{text(value)}</dd></div>\n" for name, value in _figures(report))
    return (
        f'<section id="run-{number}">\n<h2>{text(report["scenario"])} × {text(report["strategy"])}</h2>\n'
        f'<p class="verdict"><span class="{kind}">{words}</span></p>\n<p>Expected: {text(report["expected"])}</p>\n'
        f"{_checks(report['checks'])}"
        f"{_scroll('Lateness over time', draw(run.points, run.marks))}"
        f"{_fault_list(run.marks)}"
        f"<dl>\n{figures}</dl>\n{_notes(report['notes'])}"
        '<p><a href="#top">All runs</a></p>\n</section>\n'
    )


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    if not checks:
        return "<p>Nothing was checked.</p>\n"
    rows = [
        f"<tr><td>{_ok(check['ok'])}</td>"
        + "".join(f"<td>{text(check[column])}</td>" for column in ("what", "expected", "measured"))
        + "</tr>\n"
        for check in checks
    ]
    return _table("Checks", "checks", ["verdict", "check", "expected", "measured"], rows)


def _ok(ok: bool) -> str:
    return '<span class="ok">ok</span>' if ok else '<span class="bad">NOT OK</span>'


def _fault_list(marks: Sequence[Mark]) -> str:
    if not marks:
        return "<p>No fault was injected.</p>\n"
    items = "".join(f"<li><b>{spell_when(mark)}</b> {text(mark.what)}</li>\n" for mark in in_order(marks))
    is_open = "" if len(marks) > LISTED_OPEN else " open"
    return f"<details{is_open}><summary>Faults injected: {len(marks)}</summary>\n<ol>\n{items}</ol></details>\n"


def _figures(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    duplicates, lateness, commands = report["duplicates"], report["lateness_ms"], report["redis_commands_per_task"]
    causes = ", ".join(f"{cause} {count:,}" for cause, count in duplicates.items() if count)
    floor = report.get("floor_ms") or {"p50": None, "p99": None}
    return [
        ("seed", str(report["seed"])),
        ("scheduled", f"{report['scheduled']:,}"),
        ("finished", f"{report['finished']:,}"),
        ("lost", f"{report['lost']:,}"),
        ("early", f"{report['early']:,}"),
        ("duplicates", f"{sum(duplicates.values()):,}" + (f" ({causes})" if causes else "")),
        *((f"late, {name}", spell_ms(lateness[name])) for name in ("p50", "p95", "p99", "max")),
        ("wake-up floor, p50", spell_ms(floor["p50"])),
        ("wake-up floor, p99", spell_ms(floor["p99"])),
        ("restarts", f"{report['restarts']:,}"),
        ("duration", f"{report['duration_s']:.1f} s"),
        ("Redis commands a task", "–" if commands is None else f"{commands:.2f}"),
    ]


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{text(note)}</li>\n" for note in notes)
    return f"<p>Measured, not judged:</p>\n<ul>\n{items}</ul>\n" if items else ""


def _table(name: str, kind: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{text(column)}</th>' for column in columns)
    return _scroll(name, f'<table class="{kind}">\n<tr>{head}</tr>\n{"".join(rows)}</table>\n')


def _scroll(name: str, content: str) -> str:
    """``content`` in a box that scrolls sideways on a narrow screen, also by keyboard."""
    return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">\n{content}</div>\n'


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --dim: #59636e; --page: #fff; --line: #d5dae0; --band: #f1f3f6;
  --ok: #116329; --bad: #b31d28; --link: #0b5cad; --first: #0072b2; --again: #d55e00; --early: #b3128f;
  --fault: #6e7781 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa4af; --page: #14181d; --line: #333b45;
  --band: #1d232b; --ok: #5fd17c; --bad: #ff8a80; --link: #79b8ff; --first: #56b4e9; --again: #f5a623; --early: #f178d8;
  --fault: #a8b2bd } }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--page); overflow-wrap: break-word }
h1, h2 { line-height: 1.2 }
h2 { margin: 0 0 .5rem }
a { color: var(--link) }
section { margin-top: 2.5rem; padding-top: 1.5rem; border-top: 1px solid var(--line);
  content-visibility: auto; contain-intrinsic-size: auto 60rem }
.verdict { font-weight: 600; margin: .25rem 0 }
h1 + .verdict { font-size: 1.25rem; margin-bottom: 1rem }
.ok { color: var(--ok) }
.bad { background: var(--bad); color: var(--page); font-weight: 700; padding: .05em .4em; border-radius: .2em;
  -webkit-box-decoration-break: clone; box-decoration-break: clone }
.scroll { overflow-x: auto; margin: .75rem 0 }
table { border-collapse: collapse; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line) }
.checks td:first-child, .matrix td { white-space: nowrap }
.matrix th[scope=row] { position: sticky; left: 0; background: var(--page) }
.matrix a { display: block; text-decoration: none }
.matrix a:hover { text-decoration: underline }
.matrix small { display: block; color: var(--dim); font-size: inherit }
svg { display: block; width: 100%; min-width: 44rem; height: auto }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim) }
.band { fill: var(--band) }
.grid { stroke: var(--line) }
.axis { fill: none; stroke: var(--dim) }
.first, .again, .early { pointer-events: none }
.first { fill: none; stroke: var(--first); stroke-width: 3.4; stroke-linecap: round; opacity: .75 }
.again:not(.early) { fill: var(--again); stroke: var(--page); stroke-width: .6 }
.early { fill: var(--early); stroke: var(--page); stroke-width: .6 }
.fault path { stroke: var(--fault); stroke-dasharray: 4 2; stroke-opacity: .8 }
.fault rect { fill: var(--fault); fill-opacity: .18 }
.fault .hit { stroke: transparent; stroke-width: 11; stroke-dasharray: none }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .5rem 1rem; font-size: .9rem }
dt { color: var(--dim) }
dd { margin: 0; font-variant-numeric: tabular-nums }
"""

_HEAD = f"""<!DOCTYPE html>
<html lang="en" id="top">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{TITLE}</title>
<style>{_STYLE}</style>
</head>
<body>
"""

_FOOT = "</body>\n</html>\n"
