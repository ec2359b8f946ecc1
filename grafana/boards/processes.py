"""Processes: which are alive, why others died, how fast their work was taken up again, and what processes use."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from .frame import board
from .objective import PROMISED_RECOVERY
from .panels import BYTES, COUNT, ON_OFF, RATE, SECONDS, Look, Panel, Query, bars, lines, number
from .queries import STEP, WHOLE, of_supervisors, quantile

_RESTARTS, _RECOVERY = "dueq_process_restarts_total", "dueq_recovery_seconds"


def processes() -> dashboard.Dashboard:
    return board(
        "Processes",
        "Supervisors and their children. How they are supervised: docs/supervisor.md.",
        {"Alive": _alive(), "Restarts and recovery": _deaths(), "Resources": _resources()},
    )


def _alive() -> list[Panel]:
    return [
        lines(
            "Processes by role and state",
            "Over all supervisors. No dispatcher ready: no task is made ready (runbook DueqNoDispatcher). booting "
            "stays: the app does not import or Redis is away. draining stays: tasks take longer than a stop waits.",
            Look(COUNT, 12),
            Query(f"sum by (role, state) ({of_supervisors('dueq_processes')})", "{{role}} {{state}}"),
        ),
        number(
            "Redis reachable",
            "Whether Redis answered each supervisor at its last scrape. Off: check Redis, then the network between the "
            "two (runbook DueqRedisDown). Processes reconnect by themselves.",
            Look(ON_OFF, 6),
            Query(f"min by (namespace, instance) ({of_supervisors('dueq_redis_up')})", "{{namespace}} {{instance}}"),
        ),
        number(
            "Redis takes writes",
            "Whether Redis takes writes. Off: no memory left, a replica, a full disk; no task can be scheduled or "
            "started (runbook DueqRedisRefusesWrites). Not shown if Redis is away, or dueq may not use LPUSHX.",
            Look(ON_OFF, 6),
            Query(
                f"min by (namespace, instance) ({of_supervisors('dueq_redis_writable')})", "{{namespace}} {{instance}}"
            ),
        ),
    ]


def _deaths() -> list[Panel]:
    def late(cause: str) -> str:
        everything = _recovered(f"{_RECOVERY}_count", f'cause="{cause}"')
        in_time = _recovered(f"{_RECOVERY}_bucket", f'cause="{cause}"', f'le="{PROMISED_RECOVERY[cause]}"')
        return f"sum ({everything}) - sum ({in_time})"

    recoveries = of_supervisors(f"{_RECOVERY}_bucket", over="rate", window=STEP)

    return [
        bars(
            "Restarts by role and cause",
            "Processes replaced. If one role is hit: look at its code and memory. All roles: look at the host. hung: "
            "read the stacks in the log. The supervisor gives up beyond --max-restarts (runbook DueqCrashLoop).",
            Look(COUNT),
            Query(
                f"sum by (role, cause) ({of_supervisors(_RESTARTS, over='increase', window=STEP)})",
                "{{role}} {{cause}}",
            ),
        ),
        number(
            "Restarts in all",
            "In the range shown, by cause. signal: look for the kernel's out-of-memory killer; exit: for an exception "
            "in the log; hung: for stacks. recycled is planned.",
            Look(COUNT),
            Query(f"sum by (cause) ({of_supervisors(_RESTARTS, over='increase', window=WHOLE)})", "{{cause}}"),
        ),
        lines(
            "Recovery time",
            "From the loss of a task's owner until it is leased again. Above 1 s for worker_lost: all other workers "
            "are busy, so add some. lease_expired takes as long as the lease: shorten --lease if that is too long.",
            Look(SECONDS),
            *(
                Query(quantile(share, recoveries, "cause"), f"{{{{cause}}}} {name}")
                for name, share in (("p50", 0.5), ("p99", 0.99))
            ),
        ),
        number(
            "Recoveries later than promised",
            "In the range shown. Promised: worker_lost within 1 s, lease_expired within 15 s (with the default lease). "
            "If there are some, workers were busy or Redis was away: look at ready tasks in the Overview.",
            Look(COUNT, bad_from=1),
            *(Query(late(cause), cause) for cause in PROMISED_RECOVERY),
        ),
    ]


def _recovered(metric: str, *matchers: str) -> str:
    return of_supervisors(metric, *matchers, over="increase", window=WHOLE)


def _resources() -> list[Panel]:
    return [
        lines(
            "Memory",
            "In RAM, by role, over all supervisors; shared memory counts for each process. If workers only grow, a "
            "task leaks: set --max-memory-per-worker, and find the leak.",
            Look(BYTES),
            Query(f"sum by (role) ({of_supervisors('dueq_process_resident_memory_bytes')})", "{{role}}"),
        ),
        lines(
            "Redis commands",
            "Sent a second, by role. With nothing due each process sends under 0.5 a second; if an idle one sends "
            "more, look at the wake-ups in Strategies.",
            Look(RATE),
            Query(
                f"sum by (role) ({of_supervisors('dueq_redis_commands_total', over='rate', window=STEP)})", "{{role}}"
            ),
        ),
        lines(
            "Log lines dropped",
            "A second, by supervisor. Above 0: dueq's stderr is not read, or is closed, or its disk is full. The "
            "log says where lines are missing.",
            Look(RATE),
            Query(
                f"sum by (instance) ({of_supervisors('dueq_log_lines_dropped_total', over='rate', window=STEP)})",
                "{{instance}}",
            ),
        ),
        lines(
            "Quarantine",
            "Data that could not be read and is in quarantine, by kind. Above 0: look at it with 'dueq quarantine', "
            "and find out what wrote to this Redis.",
            Look(COUNT),
            Query(f"max by (kind) ({of_supervisors('dueq_quarantined')})", "{{kind}}"),
        ),
        lines(
            "Clock skew",
            "By how much Redis's clock and the host's differ. Above half a second, check the time service on both "
            "(runbook DueqClockSkew). Not shown with the transactional store, which goes by the host's clock.",
            Look(SECONDS, bad_from=0.5),
            Query(f"max by (instance) (abs({of_supervisors('dueq_clock_skew_seconds')}))", "{{instance}}"),
        ),
    ]
