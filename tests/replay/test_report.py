"""When a report is clean, and what the table and the sums of the metrics page show."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from dueq.harness.metrics_page import read_page, scrape
from dueq.replay.report import is_clean, print_table, troubles

CLEAN: dict[str, Any] = {
    "strategy": "lua", "resolution_s": 0.0, "scheduled": 10, "finished": 10, "lost": 0, "lost_ids": [], "early": 0,
    "duplicates": {"worker_lost": 2, "lease_expired": 1, "dispatch": 1, "stale_ack": 1, "unexplained": 0},
    "lateness_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 4.0}, "restarts": 2, "duration_s": 5.0,
    "redis_commands_per_task": 30.5, "redis_commands_sent_per_task": 3.5,
    "trace": "log.csv", "speed": 1000.0, "workers": 4, "dispatchers": 1,
    "cap_s": 0.25, "capped_jobs": 1, "utilisation": 0.25, "supervisor_exit": 0, "ledger_garbled": 0,
    "lateness_free_worker_ms": {"p50": None, "p95": None, "p99": None, "max": None, "jobs": 0},
    "floor_ms": {"p50": 0.3, "p99": 0.6, "rounds": 300},
    "scheduling": {"seconds": 0.1, "per_second": 100.0, "late_jobs": 1},
}  # fmt: skip


def test_duplicates_with_a_cause_are_clean() -> None:
    assert is_clean(CLEAN)
    assert troubles(CLEAN) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lost": 1, "finished": 9, "lost_ids": ["job-7"]}, "1 jobs lost, among them job-7"),
        ({"early": 1}, "1 starts before the due time"),
        ({"duplicates": {"worker_lost": 2, "unexplained": 1}}, "1 duplicate starts"),
        ({"ledger_garbled": 1}, "unreadable lines"),
        ({"supervisor_exit": 4}, "status 4"),
    ],
)
def test_what_makes_a_report_unclean(change: dict[str, Any], said: str) -> None:
    report = CLEAN | change
    assert not is_clean(report)
    output = io.StringIO()
    print_table(report, Console(file=output, width=200))
    assert "NOT CLEAN: " in output.getvalue()
    assert said in output.getvalue()


def test_table_shows_every_figure() -> None:
    output = io.StringIO()
    print_table(CLEAN, Console(file=output, width=200))
    text = output.getvalue()
    assert "NOT CLEAN" not in text
    for shown in (
        "lua, 4 workers",
        "10 in 5.0 s, workers busy 25%",
        "5 (worker_lost 2",
        "p99 3.00",
        "p99 0.60",
        "3.50",
    ):
        assert shown in text


def test_it_ends_with_a_verdict_in_one_sentence() -> None:
    late = {"p50": 0.541, "p95": 1.0, "p99": 2.3, "max": 4.0, "jobs": 9}
    clean = CLEAN | {"duplicates": {"worker_lost": 0}, "lateness_free_worker_ms": late, "finished": 18_239}
    proven = "Proven: 18,239 jobs ran, none lost, none early, none twice"
    for report, sentence in (
        (clean, f"{proven}; where a worker was free, late by 0.54 ms (p50) and 2.30 ms (p99)."),
        (CLEAN, "Proven: 10 jobs ran, none lost, none early, 5 duplicates, each with a known cause."),
        (
            CLEAN | {"lost": 1, "lost_ids": ["job-7"], "early": 2},
            "NOT CLEAN: 1 jobs lost, among them job-7; 2 starts before the due time.",
        ),
    ):
        output = io.StringIO()
        print_table(report, Console(file=output, width=80))
        assert output.getvalue().splitlines()[-1] == sentence


def test_page_is_summed_over_all_other_labels() -> None:
    page = read_page(
        "# HELP dueq_duplicates_total x\n# TYPE dueq_duplicates_total counter\n"
        'dueq_duplicates_total{queue="a",cause="worker_lost"} 2.0\n'
        'dueq_duplicates_total{queue="b",cause="worker_lost"} 1.0\n'
        'dueq_duplicates_total{queue="b",cause="lease_expired"} 1.0\n'
        'dueq_duplicates_total{queue="b",cause="stale_ack"} 5.0\n'
        "# HELP dueq_process_restarts_total x\n# TYPE dueq_process_restarts_total counter\n"
        'dueq_process_restarts_total{role="worker",cause="signal"} 3.0\n'
        "# HELP dueq_early_starts_total x\n# TYPE dueq_early_starts_total counter\n"
        'dueq_early_starts_total{queue="a"} 1.0\n'
        "# HELP dueq_redis_commands_total x\n# TYPE dueq_redis_commands_total counter\n"
        'dueq_redis_commands_total{role="worker"} 7.0\n'
    )
    assert dict(page.duplicates) == {"worker_lost": 3, "lease_expired": 1, "stale_ack": 5}
    assert page.explained_starts == 4  # a stale ack is the end of a start, not another one
    assert (page.restarts, page.early, dict(page.commands)) == (3, 1, {"worker": 7})


def test_page_that_is_gone() -> None:
    assert scrape("http://127.0.0.1:9/metrics") is None
