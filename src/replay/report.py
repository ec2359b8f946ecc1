"""The report of a replay: when it is clean, and how it is shown to people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ..core.client.safe_text import harmless_lines

Report = dict[str, Any]
"""What ``--json`` prints; docs/replay.md explains each key."""

UNEXPLAINED = "unexplained"


def is_clean(report: Report) -> bool:
    """True if nothing was lost or early, every duplicate has a cause, the ledger is whole and dueq ended well."""
    return not troubles(report)


def troubles(report: Report) -> list[str]:
    """What keeps a report from being clean, for people; empty if nothing does."""
    found = []
    if report["lost"]:
        found.append(f"{report['lost']} jobs lost, among them {', '.join(report.get('lost_ids', []))}")
    if report["early"]:
        found.append(f"{report['early']} starts before the due time")
    if unexplained := report["duplicates"].get(UNEXPLAINED, 0):
        found.append(f"{unexplained} duplicate starts in the ledger that dueq did not count")
    if garbled := report.get("ledger_garbled", 0):
        found.append(f"{garbled} unreadable lines in the ledger: was the disk full?")
    if exit_status := report.get("supervisor_exit", 0):
        found.append(f"dueq run ended with status {exit_status}")
    return found


def verdict(report: Report) -> str:
    """What the replay has shown, or what went wrong, in one sentence."""
    if found := troubles(report):
        return f"NOT CLEAN: {'; '.join(found)}."
    duplicates = sum(report["duplicates"].values())
    twice = f"{duplicates} duplicates, each with a known cause" if duplicates else "none twice"
    shown = f"Proven: {report['finished']:,} jobs ran, none lost, none early, {twice}"
    late = report["lateness_free_worker_ms"]
    if late["p50"] is None:
        return f"{shown}."
    return f"{shown}; where a worker was free, late by {late['p50']:.2f} ms (p50) and {late['p99']:.2f} ms (p99)."


def print_table(report: Report, console: Console | None = None) -> None:
    """Show the report on ``console`` (default: stdout)."""
    console = console or Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in _rows(report):
        table.add_row(name, value)
    console.print(table)
    console.print()
    console.print(harmless_lines(verdict(report)), markup=False, soft_wrap=True)


def _run_per_task(report: Report) -> str:
    each = report["redis_commands_per_task"]
    return "unknown how many" if each is None else f"{each:.2f}"


def _rows(report: Report) -> list[tuple[str, str]]:
    duplicates = report["duplicates"]
    causes = ", ".join(f"{cause} {count}" for cause, count in duplicates.items() if count)
    free, floor, scheduling = report["lateness_free_worker_ms"], report["floor_ms"], report["scheduling"]
    rows = [
        ("trace", f"{report['trace']}, {report['speed']:,.0f} times as fast"),
        ("strategy", f"{report['strategy']}, {report['workers']} workers, {report['dispatchers']} dispatchers"),
        ("scheduled", f"{report['scheduled']:,} in {scheduling['seconds']:.2f} s ({scheduling['per_second']:,.0f}/s)"),
        (
            "finished",
            f"{report['finished']:,} in {report['duration_s']:.1f} s, workers busy {report['utilisation']:.0%}",
        ),
        ("lost", str(report["lost"])),
        ("early", str(report["early"])),
        ("duplicates", f"{sum(duplicates.values())}" + (f" ({causes})" if causes else "")),
        ("restarts", str(report["restarts"])),
        ("late, all", _spread(report["lateness_ms"])),
        ("late, free worker", f"{_spread(free)}  ({free['jobs']:,} jobs)"),
        ("wake-up floor", f"p50 {floor['p50']:.2f}  p99 {floor['p99']:.2f} ms  (push to woken client)"),
        (
            "Redis commands",
            f"{report['redis_commands_sent_per_task']:.2f} sent a task, {_run_per_task(report)} run",
        ),
    ]
    if report["resolution_s"]:
        rows.append(("due times", f"rounded up to {report['resolution_s']:g} s by the strategy: jobs are late by that"))
    if report["capped_jobs"]:
        rows.append(("capped", f"{report['capped_jobs']} jobs were cut to {report['cap_s']:g} s"))
    if skipped := report.get("skipped_records", 0):
        rows.append(("skipped", f"{skipped} records of the log, whose submit time is unknown"))
    if scheduling["late_jobs"]:
        rows.append(("scheduled late", f"{scheduling['late_jobs']} jobs were due before all were scheduled"))
    return rows


def _spread(values: dict[str, Any]) -> str:
    if values["p50"] is None:
        return "–"
    return "  ".join(f"{name} {values[name]:.2f}" for name in ("p50", "p95", "p99", "max")) + " ms"
