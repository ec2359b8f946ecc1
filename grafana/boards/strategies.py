"""Strategies: the five side by side, and where each of them spends time and commands."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from .frame import board
from .panels import COUNT, RATE, SECONDS, SHARE, Look, Panel, Query, bars, lines
from .queries import STEP, by_strategy, lateness, of_supervisors, per, quantile, tasks

_THIRD = 8


def strategies() -> dashboard.Dashboard:
    return board(
        "Strategies",
        "The strategies side by side. docs/strategies.md says which to choose when.",
        {
            "Lateness, stage by stage": [_stage(*stage) for stage in _STAGES],
            "Waking up": _waking(),
            "Cost and outcome": _cost(),
        },
    )


_STAGES = (
    (
        "ready",
        "Until a dispatcher has made the task ready: the strategy's own part. If it is high, add a dispatcher, look at "
        "the wake-ups below, or choose another strategy (docs/strategies.md).",
    ),
    (
        "leased",
        "Until a worker has taken the task, with the time until ready. High here but not in ready: all workers are "
        "busy, so add some or give long tasks a queue of their own.",
    ),
    (
        "started",
        "Until the task's function runs: the lateness that users notice. High here but not in leased: tasks wait "
        "inside a worker, so use a lower --prefetch.",
    ),
)


def _stage(stage: str, meaning: str) -> Panel:
    return lines(
        f"Lateness: {stage}",
        meaning,
        Look(SECONDS, _THIRD),
        *(
            Query(lateness(share, "strategy", stage), f"{{{{strategy}}}} {name}")
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ),
    )


def _waking() -> list[Panel]:
    def dispatchers(metric: str) -> str:
        return of_supervisors(metric, 'strategy=~"$strategy"', over="rate", window=STEP)

    return [
        lines(
            "Wake-ups by reason",
            "Why dispatchers wake. due: a timer; earlier: a nearer task arrived; event: a key expired; safety_net: "
            "nothing else woke them, up to twice a minute when idle. If it is more, wake-ups are lost: run 'dueq "
            "doctor'.",
            Look(RATE),
            Query(
                f"sum by (strategy, reason) ({dispatchers('dueq_dispatch_wakeups_total')})", "{{strategy}} {{reason}}"
            ),
        ),
        lines(
            "Conflicts",
            "Moves of due tasks undone because another process changed the same keys. Normal under watch with several "
            "dispatchers; if there are more conflicts than wake-ups, run fewer dispatchers or use lua.",
            Look(RATE),
            Query(f"sum by (strategy) ({dispatchers('dueq_dispatch_conflicts_total')})", "{{strategy}}"),
        ),
    ]


def _cost() -> list[Panel]:
    started = f"rate({tasks('dueq_deliveries_total')}[{STEP}])"
    all_started = by_strategy("dueq_deliveries_total", STEP)
    commands = by_strategy("dueq_redis_commands_total", STEP)
    return [
        lines(
            "Redis commands per task",
            "Commands sent by all processes of the supervisors for each start, over all queues. It rises when there is "
            "little to do, since sleeping processes check now and then; if it rises under load, look at conflicts.",
            Look(COUNT, _THIRD),
            Query(f"{commands} / ({all_started} > 0) or {commands} * 0", "{{strategy}}"),
        ),
        lines(
            "Starts",
            "Task starts a second. Compare strategies only at the same load; if one falls behind the others, look at "
            "its lateness in the stage ready above.",
            Look(RATE, _THIRD),
            Query(f"sum by (strategy) ({started})", "{{strategy}}"),
        ),
        lines(
            "Duplicate rate",
            "Duplicates for each start. If it is above 0 without restarts, see runbook DueqDuplicatesWithoutFault; the "
            "Overview has it by cause.",
            Look(SHARE, _THIRD),
            Query(per(f"rate({tasks('dueq_duplicates_total')}[{STEP}])", started, "strategy"), "{{strategy}}"),
        ),
        lines(
            "Task duration, p95",
            "How long functions run, by task. When one takes longer, its queue needs more workers, or the task needs a "
            "timeout: see docs/supervisor.md.",
            Look(SECONDS),
            Query(
                quantile(0.95, f"rate({tasks('dueq_task_duration_seconds_bucket')}[{STEP}])", "strategy, task"),
                "{{strategy}} {{task}}",
            ),
        ),
        bars(
            "Audit repairs",
            "Repairs by the auditor, by kind. After a crash of Redis some are expected; without a crash each is a bug: "
            "keep the log, run 'dueq doctor', and report it.",
            Look(COUNT),
            Query(
                "sum by (strategy, kind) ("
                + of_supervisors("dueq_audit_repairs_total", 'strategy=~"$strategy"', over="increase", window=STEP)
                + ")",
                "{{strategy}} {{kind}}",
            ),
        ),
    ]
