"""The supervisor's metrics page: what its processes counted, what it counted itself, and what Redis says.

Each child counts in its own ``Tally``. The page adds them up; when a child is gone, its last numbers are folded into
totals and its memory is given back, so nothing grows with restarts and no counter falls. Redis is asked at scrape
time, for at most about a second; a page without Redis lacks only what Redis alone knows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import psutil
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from redis.exceptions import RedisError

from .clock import US, now_us
from .config import Settings
from .errors import DueqError
from .metrics import CHILD_ROLES, DEFINITIONS, SUPERVISOR, Definition
from .namespace import Namespace
from .tally import Tally

REDIS_TIMEOUT_S = 1.0

Processes = Callable[[], Mapping[tuple[str, str], int]]
"""Tells how many child processes there are per (role, state). Called in the thread of a scrape; must not block."""

_Values = dict[str, dict[tuple[str, ...], list[float]]]

_SCHEDULED, _FINISHED = "dueq_tasks_scheduled_total", "dueq_tasks_finished_total"

log = logging.getLogger(__name__)


class Board:
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
        ``processes``, those adopted are counted by the state in their tally."""
        self.own = Tally()
        """What the supervisor itself counts."""
        self._namespace, self._strategy, self._queues = settings.namespace, strategy, list(queues)
        self._processes = processes or self._adopted
        self._redis = RedisProbe(settings, queues)
        self._lock = threading.Lock()
        self._live: dict[Tally, str] = {}
        self._pids: dict[Tally, int] = {}
        self._totals = _zeros(strategy, queues, tasks)

    def adopt(self, tally: Tally, role: str, pid: int | None = None) -> None:
        """Show what the process of ``tally`` counts and, if its ``pid`` is given, how much memory it has."""
        with self._lock:
            self._live[tally] = role
            if pid is not None:
                self._pids[tally] = pid

    def retire(self, tally: Tally) -> None:
        """Keep the last numbers of a process and close its tally. Only for a process that is dead and waited for: what
        it still counted would be lost. A tally that was not adopted, or is retired already, is left alone."""
        with self._lock:
            if self._live.pop(tally, None) is not None:
                self._pids.pop(tally, None)
                _add(self._totals, tally)
                tally.close()

    def close(self) -> None:
        """Hang up on Redis."""
        self._redis.close()

    def processes(self) -> Mapping[tuple[str, str], int]:
        """How many child processes there are per (role, state)."""
        return self._processes()

    def refused(self) -> Sequence[str]:
        """The roles of which a child process says that Redis refuses what it needs."""
        with self._lock:
            return sorted({role for tally, role in self._live.items() if tally.refused})

    def redis_answers(self) -> bool:
        """Whether Redis answers within a second."""
        return self._redis.read() is not None

    def describe(self) -> Iterator[Metric]:
        """The metrics without their numbers."""
        for definition in DEFINITIONS.values():
            yield self._family(definition, {})

    def collect(self) -> Iterator[Metric]:
        """The metrics with their numbers now; takes about a second at most, if Redis does not answer."""
        view = self._redis.read()
        self.own.mirror_commands(SUPERVISOR)
        values = self._counted()
        values["dueq_processes"].update({labels: [count] for labels, count in self._processes().items()})
        values["dueq_process_resident_memory_bytes"] = self._memory()
        self._add_redis(values, view)
        for definition in DEFINITIONS.values():
            if series := values.get(definition.name):
                yield self._family(definition, series)

    def _counted(self) -> _Values:
        with self._lock:
            values = {name: {labels: list(cells) for labels, cells in of.items()} for name, of in self._totals.items()}
            for tally in (self.own, *self._live):
                _add(values, tally)
        return values

    def _adopted(self) -> Mapping[tuple[str, str], int]:
        with self._lock:
            return Counter((role, tally.state) for tally, role in self._live.items())

    def _memory(self) -> dict[tuple[str, ...], list[float]]:
        """Bytes in RAM by role, now. A process that is gone, or going, has none."""
        with self._lock:
            processes = [(self._live[tally], pid) for tally, pid in self._pids.items()]
        found: dict[tuple[str, ...], list[float]] = {(role,): [0.0] for role in (*CHILD_ROLES, SUPERVISOR)}
        for role, pid in (*processes, (SUPERVISOR, os.getpid())):
            with contextlib.suppress(psutil.Error):
                found[role,][0] += psutil.Process(pid).memory_info().rss
        return found

    def _add_redis(self, values: _Values, view: RedisView | None) -> None:
        for (what, queue), count in self._redis.produced.items():
            if what == "scheduled":
                values.setdefault(_SCHEDULED, {})[self._strategy, queue] = [count]
            elif what == "cancelled":
                values.setdefault(_FINISHED, {})[self._strategy, queue, "cancelled"] = [count]
        values["dueq_redis_up"] = {(): [0 if view is None else 1]}
        if view is None:
            return
        if view.skew is not None:
            values["dueq_clock_skew_seconds"] = {(): [view.skew]}
        values["dueq_tasks"] = {(self._strategy, *key): [count] for key, count in view.tasks.items()}
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


def _zeros(strategy: str, queues: Sequence[str], tasks: Mapping[str, str]) -> _Values:
    """Every series that can be foreseen, at 0: a rate of what never happened then reads 0, not nothing."""
    zeros: _Values = {}
    for definition in DEFINITIONS.values():
        # Of what Redis alone knows, 0 would be a guess: a gauge would lie, a counter would jump once Redis answers.
        if definition.name == _SCHEDULED or (definition.kind == "gauge" and definition.name != "dueq_processes"):
            continue
        zeros[definition.name] = {
            labels: [0.0] * definition.cells
            for labels in definition.known(strategy, queues, tasks)
            if not (definition.name == _FINISHED and labels[-1] == "cancelled")
        }
    return zeros


def _add(values: _Values, tally: Tally) -> None:
    for definition, labels, numbers in tally.series():
        of = values.setdefault(definition.name, {})
        so_far = of.get(labels)
        of[labels] = [a + b for a, b in zip(so_far, numbers, strict=True)] if so_far else list(numbers)


@dataclass(frozen=True, slots=True)
class RedisView:
    """What Redis said at one scrape. Skew and overdue are seconds; the skew is None where this host's clock counts."""

    skew: float | None
    tasks: dict[tuple[str, str], int]
    overdue: dict[str, float]


@dataclass(slots=True)
class _Reading:
    """One round of questions; ``view`` stays None if it failed."""

    done: threading.Event = field(default_factory=threading.Event)
    view: RedisView | None = None


class RedisProbe:
    """Asks Redis for a scrape, in a thread of its own, so that no lost host or name server holds up the page."""

    def __init__(self, settings: Settings, queues: Sequence[str], timeout: float = REDIS_TIMEOUT_S) -> None:
        if not settings.redis_url:
            raise ValueError("settings must say where Redis is: a scrape must not start a server")
        self.produced: Mapping[tuple[str, str], int] = {}
        """What producers did, as ``Store.producer_counts`` has it, but never falling; empty until Redis first told."""
        self._settings, self._queues, self._timeout = settings, list(queues), timeout
        self._lock = threading.Lock()
        self._reading: _Reading | None = None
        self._namespace: Namespace | None = None
        self._told: Mapping[tuple[str, str], int] = {}
        self._failing = self._closed = False

    def read(self) -> RedisView | None:
        """What Redis says now, or None if it did not say all within the time-out. Scrapes at once share an answer."""
        with self._lock:
            if self._reading is None or self._reading.done.is_set():
                self._reading = _Reading()
                threading.Thread(target=self._run, args=(self._reading,), name="dueq-redis-probe", daemon=True).start()
            reading = self._reading
        return reading.view if reading.done.wait(self._timeout) else None

    def close(self) -> None:
        """Close the connection, at once or when the question under way is over."""
        with self._lock:
            self._closed = True
            if self._reading is None or self._reading.done.is_set():
                self._hang_up()

    def _run(self, reading: _Reading) -> None:
        try:
            reading.view = self._ask()
            if self._failing:
                log.info("Redis answers the metrics page again")
            self._failing = False
        except (DueqError, RedisError, OSError) as error:
            if not self._failing:
                log.warning("Redis did not answer the metrics page: %s", error)
            self._failing = True
        finally:
            with self._lock:
                if reading.view is None or self._closed:
                    self._hang_up()
                reading.done.set()

    def _hang_up(self) -> None:
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            namespace.close()

    def _ask(self) -> RedisView:
        if self._namespace is None:
            self._namespace = Namespace.open(self._settings, timeout=self._timeout, engine=True)
        namespace = self._namespace
        now, skew = _server_time(namespace)
        queues = sorted({*self._queues, *namespace.store.queues()})
        tasks: dict[tuple[str, str], int] = {}
        overdue, aside = {}, namespace.store.unclaimed()
        for queue, census in zip(queues, namespace.strategy.census(queues), strict=True):
            depth = namespace.store.depth(queue)
            tasks[queue, "scheduled"] = census.scheduled
            tasks[queue, "ready"], tasks[queue, "leased"], tasks[queue, "dead"] = depth.ready, depth.leased, depth.dead
            tasks[queue, "unclaimed"] = sum(count for (of, _), count in aside.items() if of == queue)
            waiting = [due for due in (depth.oldest_ready_us, census.oldest_due_us) if due is not None]
            overdue[queue] = max(0.0, (now - min(waiting, default=now)) / US)
        self._note_produced(namespace.store.producer_counts(queues), queues)
        return RedisView(skew, tasks, overdue)

    def _note_produced(self, told: Mapping[tuple[str, str], int], queues: Sequence[str]) -> None:
        # Redis's own count falls if the namespace is purged, or a replica that lagged takes over. Then go on from what
        # was shown, so that Prometheus does not take all that was ever scheduled for new.
        known = {(what, queue) for what in ("scheduled", "cancelled") for queue in queues}
        self.produced = {
            key: self.produced[key] + max(0, told.get(key, 0) - self._told.get(key, 0))
            if key in self.produced
            else told.get(key, 0)
            for key in known | told.keys() | self.produced.keys()
        }
        self._told = dict(told)


def _server_time(namespace: Namespace) -> tuple[int, float | None]:
    """The namespace's time in epoch microseconds; if it is Redis's, also how many seconds ahead of this host's."""
    sent = now_us()
    now = namespace.store.time_us()
    received = now_us()
    return now, (now - (sent + received) / 2) / US if namespace.clock.of_server else None
