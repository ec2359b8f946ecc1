"""Every metric of dueq, defined once: its name, type, help, labels and buckets. Names are part of the contract.

Nothing is counted here: ``counters`` counts in each process, ``collector`` shows the sums on the supervisor's page,
where every metric gets the constant label ``namespace`` as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
ProcessState = Literal["booting", "ready", "draining"]

PROCESS_STATES: tuple[ProcessState, ...] = ("booting", "ready", "draining")
CHILD_ROLES = ("worker", "dispatcher", "reaper")
SUPERVISOR = "supervisor"

Repair = Literal["scheduled", "held", "leased", "unclaimed", "dead", "queue", "revoked", "busy", "head", "key"]
REPAIRS: tuple[Repair, ...] = (
    "scheduled",
    "held",
    "leased",
    "unclaimed",
    "dead",
    "queue",
    "revoked",
    "busy",
    "head",
    "key",
)

_APP: tuple[str, ...] = ()  # the values of this label are known once the app is: strategy, queue, task
_QUEUE = {"strategy": _APP, "queue": _APP}

_DURATION_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
)  # fmt: skip
_LATENESS_S = (0.0005, *_DURATION_S)
# 1 s and 15 s are promised (same host; host gone): an objective can only be read off at a bound
_RECOVERY_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """One metric. ``labels`` maps each label to the values it can have (empty: the app says); buckets are seconds."""

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]]
    buckets: tuple[float, ...] = ()

    @property
    def cells(self) -> int:
        """Numbers that one series takes: a histogram has one per bucket, one for what is above, and the sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1

    def known(self, strategy: str, queues: Sequence[str], tasks: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
        """Every combination of label values that can be foreseen. ``tasks`` maps a task's name to its queue."""
        app = {"strategy": (strategy,), "queue": tuple(queues)}
        there = set(queues)
        if "task" not in self.labels:
            yield from product(*(allowed or app[label] for label, allowed in self.labels.items()))
            return
        for task, queue in tasks.items():  # not every task in every queue: of thousands each, that would be millions
            if queue in there:
                of = app | {"task": (task,), "queue": (queue,)}
                yield from product(*(allowed or of[label] for label, allowed in self.labels.items()))


_ALL = (
    Definition(
        "dueq_task_lateness_seconds",
        "histogram",
        "Seconds from a task's due time until it was ready, leased or started (stage).",
        {**_QUEUE, "stage": ("ready", "leased", "started")},
        _LATENESS_S,
    ),
    Definition(
        "dueq_task_duration_seconds",
        "histogram",
        "Seconds that a task ran, from its start until it returned or raised.",
        {**_QUEUE, "task": _APP},
        _DURATION_S,
    ),
    Definition(
        "dueq_tasks_scheduled_total",
        "counter",
        "Tasks scheduled since the namespace began, by all producers: they have no metrics page, so Redis counts for "
        "them, and every supervisor of the namespace shows the same number (do not sum over instances).",
        _QUEUE,
    ),
    Definition(
        "dueq_deliveries_total",
        "counter",
        "Starts of tasks: the first, retries that the task asked for, and redeliveries after a lost lease.",
        {**_QUEUE, "reason": ("first", "retry", "redelivered")},
    ),
    Definition(
        "dueq_tasks_finished_total",
        "counter",
        "Ends of attempts and of tasks, by outcome. The outcome cancelled is counted in Redis since the namespace "
        "began, since producers have no metrics page: every supervisor shows the same number for it (do not sum that "
        "one over instances).",
        {**_QUEUE, "outcome": ("done", "retried", "snoozed", "dead", "cancelled", "misfired")},
    ),
    Definition(
        "dueq_duplicates_total",
        "counter",
        "Starts beyond those that a task's retry policy asked for, and acks of replaced owners, by cause.",
        {**_QUEUE, "cause": ("worker_lost", "lease_expired", "dispatch", "stale_ack")},
    ),
    Definition(
        "dueq_early_starts_total",
        "counter",
        "Tasks started before their due time by Redis's clock; must stay 0.",
        _QUEUE,
    ),
    Definition(
        "dueq_tasks",
        "gauge",
        "Tasks in each state, as Redis has them: the same on every supervisor of the namespace.",
        {**_QUEUE, "state": ("scheduled", "ready", "leased", "unclaimed", "dead")},
    ),
    Definition(
        "dueq_quarantined",
        "gauge",
        "Data that could not be read and was put out of the way: damaged records, entries that are not ids, keys of "
        "another type, damaged fields.",
        {"kind": ("record", "entry", "key", "field")},
    ),
    Definition(
        "dueq_oldest_overdue_seconds",
        "gauge",
        "Seconds by which the task waiting longest is past its due time and not started; 0 if none is.",
        _QUEUE,
    ),
    Definition(
        "dueq_process_restarts_total",
        "counter",
        "Child processes replaced because they exited, were killed by a signal, hung, or reached their limit.",
        {"role": CHILD_ROLES, "cause": ("exit", "signal", "hung", "recycled")},
    ),
    Definition(
        "dueq_recovery_seconds",
        "histogram",
        "Seconds from the loss of a task's owner until the task was leased again.",
        {"cause": ("worker_lost", "lease_expired")},
        _RECOVERY_S,
    ),
    Definition(
        "dueq_dispatch_conflicts_total",
        "counter",
        "Attempts to move due tasks that were undone because another client changed the same keys.",
        {"strategy": _APP},
    ),
    Definition(
        "dueq_dispatch_wakeups_total",
        "counter",
        "Times that a sleeping dispatcher woke, by what woke it.",
        {"strategy": _APP, "reason": ("due", "earlier", "event", "safety_net")},
    ),
    Definition(
        "dueq_audit_repairs_total",
        "counter",
        "What the auditor repaired, by kind: tasks that were not in the place that their state says (scheduled, held, "
        "leased, dead), queues that were not listed, notes of void entries that were gone (revoked), queues "
        "with work that were not marked busy (busy), first due times that were not known (head).",
        {"strategy": _APP, "kind": REPAIRS},
    ),
    Definition(
        "dueq_redis_commands_total",
        "counter",
        "Commands sent to Redis; each command of a pipeline counts.",
        {"role": (*CHILD_ROLES, SUPERVISOR)},
    ),
    Definition(
        "dueq_redis_up",
        "gauge",
        "1 if Redis answered within a second, else 0.",
        {},
    ),
    Definition(
        "dueq_redis_writable",
        "gauge",
        "1 if Redis takes writes, 0 if it answers but refuses them: full, read-only, unable to save. Absent if it did "
        "not answer.",
        {},
    ),
    Definition(
        "dueq_clock_skew_seconds",
        "gauge",
        "Seconds by which Redis's clock is ahead of this host's; absent if Redis did not tell the time.",
        {},
    ),
    Definition(
        "dueq_processes",
        "gauge",
        "Child processes of this supervisor, by role and state.",
        {"role": CHILD_ROLES, "state": PROCESS_STATES},
    ),
    Definition(
        "dueq_process_resident_memory_bytes",
        "gauge",
        "Memory in RAM of this supervisor and its child processes, by role; what processes share counts for each.",
        {"role": (*CHILD_ROLES, SUPERVISOR)},
    ),
    Definition(
        "dueq_log_lines_dropped_total",
        "counter",
        "Log lines that were not written, since nobody read stderr, or it was closed or full.",
        {},
    ),
)

DEFINITIONS: Mapping[str, Definition] = MappingProxyType({definition.name: definition for definition in _ALL})
"""Every metric by its name, in the order of the metrics page."""
