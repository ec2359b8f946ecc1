"""What each query of the dashboards must give at the end of the run, by the ledger, and within what bounds.

The window of each query is the whole run. ``increase`` and ``rate`` extrapolate to the ends of the window, by at most
one scrape at each end; a worker killed just before it wrote its line was counted and is not in the ledger; a histogram
knows values by bucket only. The bounds allow for that and for no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dueq.core.telemetry.metrics import DEFINITIONS, REPAIRS
from dueq.harness.stats import quantile

from .prometheus import Labels
from .scene import DISPATCHERS, HOSTS, WORKERS, Facts, Scene

_STRETCH = 1.07
_LINE_S = 0.1
"""How much later than dueq a task's own line may say that it started, on a busy machine."""
_ROUND_TRIP_S = 0.05
"""How much earlier: dueq takes a reply's time for that of the question, so that lateness is never flattered."""
_PAGE, _COMMANDS = 4, 60
"""What may be counted between a look at the page and the scrape next to it, at either end."""
_OBJECTIVE, _ON_TIME_S = 0.001, {"lua": 1.0, "watch": 1.0, "buckets": 2.5}
_TASK = "dueq.chaos.tasks.nap"


@dataclass(frozen=True, slots=True)
class Bounds:
    """From ``low`` to ``high``."""

    low: float
    high: float

    def over(self, number: float) -> Bounds:
        """The same of a rate or share: divided by a ``number``."""
        return Bounds(self.low / number, self.high / number)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float) and self.low <= value <= self.high


Expected = Mapping[Labels, Bounds]


def by(**labels: str) -> Labels:
    """The labels of a series."""
    return frozenset(labels.items())


def counted(value: float, ahead: float = 0) -> Bounds:
    """A total that the ledger knows; the counter may be ``ahead`` by so many."""
    return Bounds(value * 0.99 - 1e-6, (value + ahead) * _STRETCH + 1e-6)


def exactly(value: float) -> Bounds:
    return Bounds(value, value)


def told(value: float, more: float) -> Bounds:
    """A total that only the page knows; a look at it and a scrape may differ by ``more``."""
    return Bounds((value - more) * 0.95, (value + more) * _STRETCH)


def in_bucket_of(value: float | None, metric: str, *, earlier: float = _LINE_S) -> Bounds:
    """What a histogram may say of a ``value``: something in its bucket, or in those of values nearly the same."""
    assert value is not None
    bounds = [0.0, *DEFINITIONS[metric].buckets]
    below, above = bisect_left(bounds, value - earlier), bisect_left(bounds, value + _ROUND_TRIP_S)
    return Bounds(bounds[max(0, below - 1)], bounds[above])


def later(times: Iterable[float], than: float) -> Bounds:
    """How many of the ``times``, by the tasks' own lines, were later than so many seconds by dueq's clock."""
    known = list(times)
    surely = sum(time - _LINE_S > than for time in known)
    return Bounds(surely * 0.99 - 1e-6, sum(time > than for time in known) * _STRETCH + 1e-6)


def expectations(scene: Scene) -> dict[str, Expected]:
    """For every query of every dashboard, by its name: the labels of each series, and its bounds."""
    boards = {"overview": _overview(scene), "strategies": _strategies(scene), "processes": _processes(scene)}
    return {f"dueq-{board}/{query}": wanted for board, of in boards.items() for query, wanted in of.items()}


def _overview(scene: Scene) -> dict[str, Expected]:
    facts = list(scene.facts.values())
    span = scene.window.seconds
    starts, kills = sum(len(fact.starts) for fact in facts), sum(fact.kills for fact in facts)
    done, dead = sum(len(fact.finishes) for fact in facts), len(facts)  # each has one poison
    late = sorted(late for fact in facts for late in fact.late)
    duplicates = {
        cause: _duplicates(facts, cause) for cause in ("worker_lost", "lease_expired", "dispatch", "stale_ack")
    }
    queue = by(queue="chaos")
    causes = {"exit": 0, "signal": kills, "hung": 0, "recycled": 0}
    outcomes = {"done": done, "retried": 0, "snoozed": 0, "dead": dead, "misfired": 0}
    bounds = DEFINITIONS["dueq_task_lateness_seconds"].buckets
    return {
        "Oldest overdue now/A": {by(): exactly(0)},
        "Duplicate starts/A": {by(): duplicates["worker_lost"]},
        "Dead letters/A": {by(): exactly(dead)},
        "Early starts/A": {by(): counted(sum(fact.early for fact in facts))},
        "Restarts/A": {by(): counted(kills)},
        "Supervisors cut off from Redis/A": {by(): exactly(0)},
        "Supervisors cut off from Redis/B": {by(): exactly(0)},
        **{
            f"Lateness/{ref}": {by(): in_bucket_of(quantile(late, share), "dueq_task_lateness_seconds")}
            for ref, share in (("A", 0.5), ("B", 0.95), ("C", 0.99))
        },
        "Lateness, all starts/A": {
            by(le="+Inf"): counted(starts, 1),
            **{by(le=str(bound)): _up_to(bound, late) for bound in bounds},
        },
        **{f"SLO burn, worst queue/{ref}": {queue: _burn(scene)} for ref in "ABC"},
        "Oldest overdue/A": {queue: exactly(0)},
        "Duplicate rate by cause/A": {by(cause=cause): found.over(starts) for cause, found in duplicates.items()},
        "Duplicates by cause/A": {by(cause=cause): found for cause, found in duplicates.items()},
        "Tasks by state/A": {
            by(state=state): exactly(dead if state == "dead" else 0)
            for state in DEFINITIONS["dueq_tasks"].labels["state"]
        },
        "Throughput/A": {by(): counted(sum(fact.scheduled for fact in facts)).over(span)},
        "Throughput/B": {by(): counted(starts, 1).over(span)},
        "Throughput/C": {by(outcome=outcome): counted(count).over(span) for outcome, count in outcomes.items()},
        "Throughput/D": {by(): counted(len(facts)).over(span)},  # each has one that was cancelled
        "Restarts by cause/A": {by(cause=cause): counted(count) for cause, count in causes.items()},
        "Failed attempts/A": {queue: counted(dead).over(done + dead)},
    }


def _up_to(bound: float, late: list[float]) -> Bounds:
    """How many starts a bucket of the histogram may hold."""
    surely, at_most = sum(time + _ROUND_TRIP_S <= bound for time in late), sum(time - _LINE_S <= bound for time in late)
    return Bounds(surely * 0.99 - 1e-6, (at_most + 1) * _STRETCH)


def _duplicates(facts: Iterable[Facts], cause: str) -> Bounds:
    # a worker that was killed between counting a start and writing its line
    return counted(sum(fact.duplicates[cause] for fact in facts), 1 if cause == "worker_lost" else 0)


def _burn(scene: Scene) -> Bounds:
    """Of the engine that was late most, as times the budget."""
    shares = [
        later(fact.late, _ON_TIME_S[strategy]).over(len(fact.starts) * _OBJECTIVE)
        for strategy, fact in scene.facts.items()
    ]
    return Bounds(max(share.low for share in shares), max(share.high for share in shares))


def _strategies(scene: Scene) -> dict[str, Expected]:
    span = scene.window.seconds
    lateness = "dueq_task_lateness_seconds"
    started = {
        ref: {
            by(strategy=name): in_bucket_of(quantile(fact.late, share), lateness) for name, fact in scene.facts.items()
        }
        for ref, share in (("A", 0.5), ("B", 0.99))
    }
    durations = {
        by(strategy=name, task=_TASK): in_bucket_of(quantile(fact.durations, 0.95), "dueq_task_duration_seconds")
        for name, fact in scene.facts.items()
    }
    return {
        **{f"Lateness: started/{ref}": wanted for ref, wanted in started.items()},
        # the stages before: no ledger sees them, but they cannot come later
        **{
            f"Lateness: {stage}/{ref}": {labels: Bounds(0, bounds.high) for labels, bounds in wanted.items()}
            for stage in ("ready", "leased")
            for ref, wanted in started.items()
        },
        "Wake-ups by reason/A": {
            by(strategy=name, reason=reason): told(fact.told("dueq_dispatch_wakeups_total", reason=reason), _PAGE).over(
                span
            )
            for name, fact in scene.facts.items()
            for reason in ("due", "earlier", "event", "safety_net")
        },
        "Conflicts/A": {
            by(strategy=name): told(fact.told("dueq_dispatch_conflicts_total"), _PAGE).over(span)
            for name, fact in scene.facts.items()
        },
        "Redis commands per task/A": {
            by(strategy=name): told(fact.told("dueq_redis_commands_total"), _COMMANDS).over(len(fact.starts))
            for name, fact in scene.facts.items()
        },
        "Starts/A": {by(strategy=name): counted(len(fact.starts), 1).over(span) for name, fact in scene.facts.items()},
        "Duplicate rate/A": {
            by(strategy=name): _duplicates([fact], "worker_lost").over(len(fact.starts))
            for name, fact in scene.facts.items()
        },
        "Task duration, p95/A": durations,
        "Audit repairs/A": {
            by(strategy=name, kind=kind): told(fact.told("dueq_audit_repairs_total", kind=kind), 0)
            for name, fact in scene.facts.items()
            for kind in REPAIRS
        },
    }


def _processes(scene: Scene) -> dict[str, Expected]:
    facts = list(scene.facts.values())
    kills = sum(fact.kills for fact in facts)
    recoveries = sorted(seconds for fact in facts for seconds in fact.recoveries)
    engines = len(HOSTS)
    counts = {"worker": WORKERS * engines, "dispatcher": DISPATCHERS * engines, "reaper": sum(HOSTS.values())}
    lost = by(cause="worker_lost")
    return {
        "Processes by role and state/A": {
            by(role=role, state=state): exactly(count if state == "ready" else 0)
            for role, count in counts.items()
            for state in ("booting", "ready", "draining")
        },
        **{
            f"{panel}/A": {
                by(namespace="chaos", instance=name): exactly(1) for fact in facts for name in fact.instances
            }
            for panel in ("Redis reachable", "Redis takes writes")
        },
        "Restarts by role and cause/A": {
            by(role=role, cause=cause): counted(kills if (role, cause) == ("worker", "signal") else 0)
            for role in counts
            for cause in ("exit", "signal", "hung", "recycled")
        },
        "Restarts in all/A": {
            by(cause=cause): counted(kills if cause == "signal" else 0)
            for cause in ("exit", "signal", "hung", "recycled")
        },
        "Recovery time/A": {lost: in_bucket_of(quantile(recoveries, 0.5), "dueq_recovery_seconds")},
        "Recovery time/B": {lost: in_bucket_of(quantile(recoveries, 0.99), "dueq_recovery_seconds")},
        "Recoveries later than promised/A": {by(): later(recoveries, 1.0)},
        "Recoveries later than promised/B": {by(): exactly(0)},
        "Memory/A": {
            by(role=role): Bounds(0.75 * total, 1.25 * total)
            for role in (*counts, "supervisor")
            for total in [sum(fact.memory[role] for fact in facts)]
        },
        "Redis commands/A": {
            by(role=role): told(
                sum(fact.told("dueq_redis_commands_total", role=role) for fact in facts), _COMMANDS
            ).over(scene.window.seconds)
            for role in (*counts, "supervisor")
        },
        "Log lines dropped/A": {by(instance=name): exactly(0) for fact in facts for name in fact.instances},
        "Quarantine/A": {by(kind=kind): exactly(0) for kind in DEFINITIONS["dueq_quarantined"].labels["kind"]},
        "Clock skew/A": {by(instance=name): Bounds(0, 0.25) for fact in facts for name in fact.instances},
    }
