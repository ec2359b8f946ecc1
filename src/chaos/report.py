"""The report of one run: the figures of the ledger and of dueq, and whether the expectation was met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..harness.history import UNEXPLAINED
from ..harness.stats import summary_ms
from .scenarios.base import Scenario
from .stage import Stage

Report = Mapping[str, Any]
"""What ``--json`` prints; docs/chaos.md explains each key."""

_LOST_SHOWN = 10


def judge(scenario: Scenario, stage: Stage) -> None:
    """Add the checks that hold in every scenario."""
    book = stage.book
    duplicates = {cause: count for cause, count in book.duplicates().items() if count}
    if not scenario.loses:
        names = ", ".join(book.lost_ids()[:_LOST_SHOWN])
        stage.check("lost", "0", f"{book.lost}" + (f": {names}" if names else ""), not book.lost)
        allowed = ", ".join(sorted(scenario.causes)) or "none"
        stage.check("causes of duplicates", allowed, duplicates, duplicates.keys() <= scenario.causes)
    if stage.server_time or not scenario.skews_clocks:
        stage.check("early", "0", book.early, not book.early)
    twice = book.tokens_given_twice()
    stage.check("tokens given twice", "0", len(twice), not twice)
    ended = {host.name: host.exit_status for host in stage.hosts if not host.gone}
    stage.check("supervisors that were not killed end with", "0", ended, not any(ended.values()))
    left = [process.pid for host in stage.hosts for process in host.leftovers()]
    stage.check("processes left behind", "none", left, not left)


def make(scenario: Scenario, stage: Stage) -> Report:
    """The report of a run that has ended."""
    book = stage.book
    refused = {cause: round(stage.total("dueq_duplicates_total", cause=cause)) for cause in ("dispatch", "stale_ack")}
    found = book.duplicates()
    causes = ("worker_lost", "lease_expired", UNEXPLAINED)
    return {
        **_head(scenario, stage.strategy, stage.size.seed, all(check.ok for check in stage.checks)),
        "scheduled": len(stage.plan),
        "finished": book.finished,
        "lost": book.lost,
        "early": book.early,
        "duplicates": {cause: found[cause] for cause in causes} | refused,
        "lateness_ms": summary_ms(book.lateness_us()),
        "floor_ms": _floor(stage),
        "restarts": round(stage.total("dueq_process_restarts_total")),
        "duration_s": round(max(0.0, (book.last_finish_us() - stage.base_us) / 1e6), 3),
        "redis_commands_per_task": stage.commands_per_task(),
        "faults": len(stage.marks),
        "checks": [_row(check) for check in stage.checks],
        "notes": stage.notes,
    }


def failed(scenario: Scenario, strategy: str, seed: int, error: Exception) -> Report:
    """The report of a run that did not complete."""
    failure = f"{type(error).__name__}: {error}"
    check = {"what": "the run completes", "expected": "yes", "measured": failure, "ok": False}
    nothing = dict.fromkeys(("scheduled", "finished", "lost", "early", "restarts", "faults"), 0)
    return {
        **_head(scenario, strategy, seed, False),
        **nothing,
        "duplicates": {},
        "lateness_ms": summary_ms([]),
        "floor_ms": None,
        "duration_s": 0.0,
        "redis_commands_per_task": None,
        "checks": [check],
        "notes": [],
    }


def _head(scenario: Scenario, strategy: str, seed: int, ok: bool) -> Report:
    return {
        "scenario": scenario.name,
        "strategy": strategy,
        "seed": seed,
        "ok": ok,
        "fault": scenario.fault,
        "expected": scenario.expected,
    }


def _floor(stage: Stage) -> dict[str, float] | None:
    measured = stage.floor
    return None if measured is None else {"p50": measured.p50, "p99": measured.p99, "rounds": measured.rounds}


def _row(check: Any) -> dict[str, Any]:
    return {"what": check.what, "expected": check.expected, "measured": check.measured, "ok": check.ok}


def troubles(report: Report) -> list[str]:
    """The checks that failed, for people."""
    return [f"{c['what']}: expected {c['expected']}, got {c['measured']}" for c in report["checks"] if not c["ok"]]


def rows(reports: Sequence[Report]) -> list[list[str]]:
    """The reports as a table's rows; the columns are ``COLUMNS``."""
    return [
        [
            report["scenario"],
            report["strategy"],
            "met" if report["ok"] else "NOT MET",
            f"{report['finished']}/{report['scheduled']}",
            str(report["lost"]),
            str(report["early"]),
            ", ".join(f"{cause} {count}" for cause, count in report["duplicates"].items() if count) or "0",
            _ms(report["lateness_ms"]["p50"]),
            _ms(report["lateness_ms"]["p99"]),
            str(report["restarts"]),
        ]
        for report in reports
    ]


COLUMNS = ["scenario", "strategy", "verdict", "done", "lost", "early", "duplicates", "p50 ms", "p99 ms", "restarts"]


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
