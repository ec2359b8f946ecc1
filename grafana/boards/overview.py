"""Overview: is work on time, is any of it done twice, is any of it stuck?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from .frame import board
from .objective import OBJECTIVE, ON_TIME, ON_TIME_BUCKETS
from .panels import COUNT, RATE, SECONDS, SHARE, TIMES, Look, Panel, Query, bars, histogram, lines, number
from .queries import CHOSEN, LATENESS, STARTED, STEP, WHOLE, lateness, of_supervisors, once, per, tasks

_SMALL = 4
_DEAD = 'state="dead"'
_SETTLED, _CANCELLED = 'outcome!="cancelled"', 'outcome="cancelled"'  # by workers, and by producers
_FAILED, _ENDED = 'outcome=~"retried|dead"', 'outcome=~"done|retried|dead"'


def overview() -> dashboard.Dashboard:
    return board(
        "Overview",
        "Is work on time, is any of it done twice, is any of it stuck? Alerts and runbooks: docs/operations.md.",
        {"At a glance": _glance(), "On time": _on_time(), "Once": _once(), "Moving": _moving()},
    )


def _glance() -> list[Panel]:
    return [
        number(
            "Oldest overdue now",
            "How long the task that waits longest has been due. It should fall back to 0: if it grows, look at "
            "Processes for a dispatcher and a worker that are ready, then add workers (runbook DueqOverdueGrows).",
            Look(SECONDS, 4, _SMALL, bad_from=30),
            Query(f"max ({once('dueq_oldest_overdue_seconds')})", "overdue"),
        ),
        number(
            "Duplicate starts",
            "Starts and late acks beyond what retries asked for, in the range shown. Some after a crash are expected; "
            "without one, see runbook DueqDuplicatesWithoutFault.",
            Look(COUNT, 4, _SMALL, bad_from=1),
            Query(f"sum (increase({tasks('dueq_duplicates_total')}[{WHOLE}]))", "duplicates"),
        ),
        number(
            "Dead letters",
            "Tasks that were given up, now. List them with 'dueq dead list', remove the cause, then retry or purge "
            "them (runbook DueqDeadLetters).",
            Look(COUNT, 4, _SMALL, bad_from=1),
            Query(f"sum ({once('dueq_tasks', '', _DEAD)})", "dead"),
        ),
        number(
            "Early starts",
            "Tasks started before they were due, in the range shown. Must be 0: anything else is a bug or a clock that "
            "jumped (runbook DueqEarlyStart).",
            Look(COUNT, 4, _SMALL, bad_from=1),
            Query(f"sum (increase({tasks('dueq_early_starts_total')}[{WHOLE}]))", "early"),
        ),
        number(
            "Restarts",
            "Processes that died or hung and were replaced, in the range shown; planned replacements are left out. "
            "The log says why each one ended; Processes shows its role (runbook DueqCrashLoop).",
            Look(COUNT, 4, _SMALL, bad_from=1),
            Query(f"sum ({_restarts(WHOLE)})", "restarts"),
        ),
        number(
            "Supervisors cut off from Redis",
            "Supervisors whose last scrape got no answer from Redis, or found that it refuses writes. Nothing is lost, "
            "but nothing starts: check Redis and the network (runbook DueqRedisDown, runbook DueqRedisRefusesWrites).",
            Look(COUNT, 4, _SMALL, bad_from=1),
            Query(f"sum (1 - ({of_supervisors('dueq_redis_up')}))", "no answer"),
            Query(f"sum (1 - ({of_supervisors('dueq_redis_writable')}))", "no writes"),
        ),
    ]


def _restarts(window: str) -> str:
    return of_supervisors("dueq_process_restarts_total", 'cause!="recycled"', over="increase", window=window)


def _on_time() -> list[Panel]:
    return [
        lines(
            "Lateness",
            "From the due time to the start of the task. If all three rise, there are too few workers or Redis is "
            "slow; if only p99 does, look for long tasks in front (Strategies shows at which stage time is lost).",
            Look(SECONDS),
            *(Query(lateness(share), name) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))),
        ),
        histogram(
            "Lateness, all starts",
            "Every start by how late it was. A second band above the first is a group of tasks that waits: find their "
            "queue with the variable $queue, then give it workers of its own.",
            Look(SECONDS),
            Query(f"sum by (le) (increase({tasks(f'{LATENESS}_bucket', STARTED)}[{STEP}]))", "{{le}}"),
        ),
        lines(
            "SLO burn, worst queue",
            f"How many times faster than allowed the error budget burns; {OBJECTIVE:.1%} of starts are to be at most "
            f"{ON_TIME} s late ({ON_TIME_BUCKETS} s under buckets). Above 1 the objective will be missed; at 14.4 act "
            "now (runbook DueqLatenessBurn). Needs the recording rules.",
            Look(TIMES, bad_from=1),
            *(
                Query(
                    f"max by (queue) (namespace_strategy_queue:dueq_lateness_burn:rate{window}{{{CHOSEN}}})",
                    f"{{{{queue}}}} {window}",
                )
                for window in ("5m", "1h", "6h")
            ),
        ),
        lines(
            "Oldest overdue",
            "How long the task that waits longest in each queue has been due. A slope of one second a second means "
            "that nothing of the queue is started at all (runbook DueqOverdueGrows).",
            Look(SECONDS, bad_from=30),
            Query(f"max by (queue) ({once('dueq_oldest_overdue_seconds')})", "{{queue}}"),
        ),
    ]


def _once() -> list[Panel]:
    duplicates = f"rate({tasks('dueq_duplicates_total')}[{STEP}])"
    deliveries = f"sum (rate({tasks('dueq_deliveries_total')}[{STEP}]))"
    by_cause = f"sum by (cause) ({duplicates})"
    return [
        lines(
            "Duplicate rate by cause",
            "Duplicates for each start. worker_lost: find what kills workers. lease_expired: a host vanished or a "
            "process stood still; stale_ack is its late end. dispatch: harmless, dropped before it ran. See runbook "
            "DueqDuplicatesWithoutFault.",
            Look(SHARE),
            Query(f"{by_cause} / on () group_left () ({deliveries} > 0) or {by_cause} * 0", "{{cause}}"),
        ),
        number(
            "Duplicates by cause",
            "How many in the range shown, by cause. Compare with the restarts: expect about one for each worker that "
            "died in the middle of a task. If there are more, see runbook DueqDuplicatesWithoutFault.",
            Look(COUNT, 12),
            Query(f"sum by (cause) (increase({tasks('dueq_duplicates_total')}[{WHOLE}]))", "{{cause}}"),
        ),
    ]


def _moving() -> list[Panel]:
    return [
        lines(
            "Tasks by state",
            "Counts in Redis. ready stays high: too few workers. leased equals the number of workers: all are busy. "
            "dead: look at them with 'dueq dead list'.",
            Look(COUNT),
            Query(f"sum by (state) ({once('dueq_tasks')})", "{{state}}"),
        ),
        lines(
            "Throughput",
            "Tasks a second. Where started stays below scheduled for long, work piles up: add workers. retried or dead "
            "rising: the tasks themselves fail, so read the log of the workers.",
            Look(RATE),
            Query(f"sum ({once('dueq_tasks_scheduled_total', STEP)})", "scheduled"),
            Query(f"sum (rate({tasks('dueq_deliveries_total')}[{STEP}]))", "started"),
            Query(
                f"sum by (outcome) (rate({tasks('dueq_tasks_finished_total', _SETTLED)}[{STEP}]))",
                "{{outcome}}",
            ),
            Query(f"sum ({once('dueq_tasks_finished_total', STEP, _CANCELLED)})", "cancelled"),
        ),
        bars(
            "Restarts by cause",
            "Processes replaced. exit and signal: they crashed, the log says how. hung: they stood still, their stacks "
            "are in the log. recycled is planned (runbook DueqCrashLoop).",
            Look(COUNT),
            Query(
                f"sum by (cause) ({of_supervisors('dueq_process_restarts_total', over='increase', window=STEP)})",
                "{{cause}}",
            ),
        ),
        lines(
            "Failed attempts",
            "The share of attempts that ended in a retry or a dead letter. When it rises, a service that tasks depend "
            "on has a fault: the log of the workers names the exception.",
            Look(SHARE),
            Query(
                per(
                    f"rate({tasks('dueq_tasks_finished_total', _FAILED)}[{STEP}])",
                    f"rate({tasks('dueq_tasks_finished_total', _ENDED)}[{STEP}])",
                    "queue",
                ),
                "{{queue}}",
            ),
        ),
    ]
