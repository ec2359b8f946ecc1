"""The supervisor's metrics page: what its processes counted, what it counted itself, and what Redis says.

Each child counts in its own ``Counters``. The page adds them up; when a child is gone, its last numbers are folded into
totals and its memory is given back, so nothing grows with restarts and no counter falls. Redis is asked at scrape
time (see redis_probe.py); a page without Redis lacks only what Redis alone knows. However many queues and tasks there
are, a hundred of each are named, and the rest share the label value ``other``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

import psutil
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ..config import Settings
from .counters import Counters
from .labels import Names
from .metrics import CHILD_ROLES, DEFINITIONS, SUPERVISOR, Definition
from .redis_probe import RedisProbe, RedisView

Processes = Callable[[], Mapping[tuple[str, str], int]]
"""How many child processes there are per (role, state). Called in the thread of a scrape; must not block."""

_Values = dict[str, dict[tuple[str, ...], list[float]]]

_HISTOGRAMS = 10
"""Queues whose histograms are on the page before they have numbers."""

_SCHEDULED, _FINISHED = "dueq_tasks_scheduled_total", "dueq_tasks_finished_total"


class Collector:
    """The numbers of one supervisor and its processes: a collector for prometheus_client. Any thread may call it."""

    def __init__(
        self,
        settings: Settings,
        strategy: str,
        queues: Sequence[str],
        tasks: Mapping[str, str],
        processes: Processes | None = None,
    ) -> None:
        """``settings`` must have an address. ``tasks`` maps the name of each task to its queue. Without
        ``processes``, the adopted processes are counted by the state in their counters."""
        self.own = Counters()
        """What the supervisor itself counts."""
        self._namespace, self._strategy, self._queues = settings.namespace, strategy, list(queues)
        self._processes = processes or self._adopted
        self._redis = RedisProbe(settings, queues)
        self._names = {"queue": Names(queues), "task": Names(tasks)}
        self._lock = threading.Lock()
        self._live: dict[Counters, str] = {}
        self._pids: dict[Counters, int] = {}
        self._totals = _zeros(strategy, self._names["queue"].all(), self._bounded(tasks))

    def _bounded(self, tasks: Mapping[str, str]) -> dict[str, str]:
        """The tasks that are named, with the names of their queues."""
        return {name: self._names["queue"].of(tasks[name]) for name in self._names["task"].all()}

    def adopt(self, counters: Counters, role: str, pid: int | None = None) -> None:
        """Show what the process of ``counters`` counts and, if its ``pid`` is given, how much memory it has."""
        with self._lock:
            self._live[counters] = role
            if pid is not None:
                self._pids[counters] = pid

    def retire(self, counters: Counters) -> None:
        """Keep the last numbers of a process and close its counters. Only for a process that is dead and waited for:
        what a living one still counts would be lost. Counters that were not adopted, or are retired already, are left
        alone."""
        with self._lock:
            if self._live.pop(counters, None) is not None:
                self._pids.pop(counters, None)
                self._add(self._totals, counters)
                counters.close()

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def processes(self) -> Mapping[tuple[str, str], int]:
        """How many child processes there are per (role, state)."""
        return self._processes()

    def refused(self) -> Sequence[str]:
        """The roles of child processes to which Redis refuses what they need."""
        with self._lock:
            return sorted({role for counters, role in self._live.items() if counters.refused})

    def redis_is_up(self) -> bool:
        """Whether Redis answers within a second."""
        return self._redis.is_up()

    def describe(self) -> Iterator[Metric]:
        """The metrics without their numbers."""
        for definition in DEFINITIONS.values():
            yield self._family(definition, {})

    def collect(self) -> Iterator[Metric]:
        """The metrics with their numbers now; takes about a second at most, if Redis does not answer."""
        is_up = self._redis.is_up()
        view = self._redis.read() if is_up else None
        self.own.mirror_commands(SUPERVISOR)
        values = self._counted()
        values["dueq_processes"].update({labels: [count] for labels, count in self._processes().items()})
        values["dueq_process_resident_memory_bytes"] = self._memory()
        self._add_redis(values, is_up, view)
        for definition in DEFINITIONS.values():
            if series := values.get(definition.name):
                yield self._family(definition, series)

    def _counted(self) -> _Values:
        with self._lock:
            values = {name: {labels: list(cells) for labels, cells in of.items()} for name, of in self._totals.items()}
            for counters in (self.own, *self._live):
                self._add(values, counters)
        return values

    def _add(self, values: _Values, counters: Counters) -> None:
        for definition, labels, numbers in counters.series():
            named = tuple(
                self._names[label].of(value) if label in self._names else value
                for label, value in zip(definition.labels, labels, strict=True)
            )
            of = values.setdefault(definition.name, {})
            so_far = of.get(named)
            of[named] = [a + b for a, b in zip(so_far, numbers, strict=True)] if so_far else list(numbers)

    def _adopted(self) -> Mapping[tuple[str, str], int]:
        with self._lock:
            return Counter((role, counters.state) for counters, role in self._live.items())

    def _memory(self) -> dict[tuple[str, ...], list[float]]:
        """Bytes in RAM by role, now. A process that is gone, or going, has none."""
        with self._lock:
            processes = [(self._live[counters], pid) for counters, pid in self._pids.items()]
        found: dict[tuple[str, ...], list[float]] = {(role,): [0.0] for role in (*CHILD_ROLES, SUPERVISOR)}
        for role, pid in (*processes, (SUPERVISOR, os.getpid())):
            with contextlib.suppress(psutil.Error):
                found[role,][0] += psutil.Process(pid).memory_info().rss
        return found

    def _add_redis(self, values: _Values, is_up: bool, view: RedisView | None) -> None:
        for (what, queue), count in self._redis.produced.items():
            name = self._names["queue"].of(queue)
            if what == "scheduled":
                _more(values, _SCHEDULED, (self._strategy, name), count)
            elif what == "cancelled":
                _more(values, _FINISHED, (self._strategy, name, "cancelled"), count)
        values["dueq_redis_up"] = {(): [int(is_up)]}
        if view is None:
            return
        if view.writable is not None:
            values["dueq_redis_writable"] = {(): [int(view.writable)]}
        if view.skew is not None:
            values["dueq_clock_skew_seconds"] = {(): [view.skew]}
        values["dueq_tasks"] = {(self._strategy, *key): [count] for key, count in view.tasks.items()}
        values["dueq_quarantined"] = {(kind,): [count] for kind, count in view.quarantined.items()}
        values["dueq_oldest_overdue_seconds"] = {
            (self._strategy, queue): [seconds] for queue, seconds in view.overdue.items()
        }

    def _family(self, definition: Definition, series: Mapping[tuple[str, ...], Sequence[float]]) -> Metric:
        name, text, labels = definition.name, definition.help, ["namespace", *definition.labels]
        if definition.kind == "histogram":
            histogram = HistogramMetricFamily(name, text, labels=labels)
            bounds = [*map(str, definition.buckets), "+Inf"]
            for values, (*counts, total) in series.items():
                buckets = list(zip(bounds, accumulate(counts), strict=True))
                histogram.add_metric([self._namespace, *values], buckets, total)
            return histogram
        family: CounterMetricFamily | GaugeMetricFamily
        if definition.kind == "counter":
            family = CounterMetricFamily(name, text, labels=labels)
        else:
            family = GaugeMetricFamily(name, text, labels=labels)
        for values, (number,) in series.items():
            family.add_metric([self._namespace, *values], number)
        return family


def _more(values: _Values, name: str, labels: tuple[str, ...], count: float) -> None:
    cells = values.setdefault(name, {}).setdefault(labels, [0.0])
    cells[0] += count


def _zeros(strategy: str, queues: Sequence[str], tasks: Mapping[str, str]) -> _Values:
    """Every series that can be foreseen, at 0, so that the rate of what never happened reads 0, not nothing."""
    zeros: _Values = {}
    for definition in DEFINITIONS.values():
        # For what Redis alone knows, 0 would be a guess: a gauge would lie, a counter would jump once Redis replies.
        if definition.name == _SCHEDULED or (definition.kind == "gauge" and definition.name != "dueq_processes"):
            continue
        many = definition.kind == "histogram"  # twenty lines of the page each
        zeros[definition.name] = {
            labels: [0.0] * definition.cells
            for labels in definition.known(strategy, queues[:_HISTOGRAMS] if many else queues, tasks)
            if not (definition.name == _FINISHED and labels[-1] == "cancelled")
        }
    return zeros
