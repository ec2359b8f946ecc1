"""The stage of a scenario: a Redis of its own, hosts, tasks due over time, the ledger, checks and notes."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from .. import strategies
from ..core.app.application import Dueq
from ..core.client.connection import connect
from ..core.client.embedded import EmbeddedServer
from ..core.clock import US, now_us
from ..core.config import Settings
from ..core.errors import DueqError
from ..harness import floor
from ..harness.account import Planned
from ..harness.floor import Floor
from ..harness.history import Book
from ..harness.host import TARGET, Host
from ..harness.ledger import LedgerReader
from ..harness.sandbox import undisturbed
from ..harness.stats import quantile
from .plot import Mark
from .tasks import nap
from .wording import spelled

LEASE_S = 2.0
SLACK_S = 5.0
"""How much longer than a lease it may take until another host takes over from one that vanished."""

_NAMESPACE = "chaos"
_LEAD_S = 0.5  # from the scheduling of the tasks until the first is due, besides the time that scheduling takes
_RATE = 5000.0  # tasks scheduled a second, at least
_TICK_S = 0.02
_PAGE_S = 0.5
_FLOOR_ROUNDS = 100
_STALLED_S = LEASE_S + SLACK_S + 5.0  # after so long without a line in the ledger, the missing tasks count as lost


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a run: its tasks, the seconds over which they come due, and the seed of every random choice."""

    tasks: int
    duration: float
    seed: int


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation, what was measured, and whether it was met."""

    what: str
    expected: str
    measured: str
    ok: bool


class Stage:
    """One run of one scenario under one strategy. A context manager, which ends all that still runs."""

    def __init__(self, scenario: str, strategy: str, size: Size, directory: Path, options: dict[str, str]) -> None:
        """Start its Redis. Raises ConfigurationError if there is no such strategy, EmbeddedServerError."""
        kind = strategies.find(strategy)
        self.strategy, self.size, self.directory, self.options = strategy, size, directory, options
        self.seed = f"{size.seed} {scenario} {strategy}"
        """The seed of every random choice."""
        self.chance = random.Random(self.seed)
        self.resolution_s = kind.resolution
        self.server_time = "scripted" in kind.stores()  # the Redis of a stage runs scripts
        """Whether due times go by Redis's clock rather than its hosts'."""
        self.hosts: list[Host] = []
        self.plan: dict[str, Planned] = {}
        self.book = Book(self.plan)
        self.marks: list[Mark] = []
        self.checks: list[Check] = []
        self.notes: list[str] = []
        self.floor: Floor | None = None
        self.base_us = 0
        self._reader = LedgerReader(directory)
        self._page_at = 0.0
        self._extras = 0
        self._counted_from = ("", 0)
        self._commands_per_task: float | None = None
        self.server = EmbeddedServer(directory / "redis", options=options)
        try:
            self.use(self.start_server())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- setting up

    def measure_floor(self) -> None:
        """Measure the floor of lateness on this machine: a slow or busy machine must not count against dueq."""
        self.floor = floor.measure(self.settings.redis_url or "", _NAMESPACE, _FLOOR_ROUNDS)

    def start_server(self) -> str:
        """Start its Redis; returns the address. Signals wait meanwhile: a server that is still starting cannot be
        stopped."""
        with undisturbed():
            return self.server.start()

    def use(self, redis_url: str) -> None:
        """Let hosts and producers use this Redis from now on."""
        self.settings = Settings(redis_url, _NAMESPACE, self.strategy)
        self.app = Dueq(redis_url, namespace=_NAMESPACE, strategy=self.strategy)

    def host(
        self,
        *flags: str | int | float,
        workers: int = 3,
        dispatchers: int = 1,
        lease: float = LEASE_S,
        url: str = "",
        target: str = TARGET,
        environment: dict[str, str] | None = None,
    ) -> Host:
        """Start a host that uses the server, or the address ``url``. It need not be ready yet: see ``wait_ready``."""
        settings = Settings(url or self.settings.redis_url, _NAMESPACE, self.strategy)
        # the limits are raised, since these kills are on purpose
        common = ("--strategy", self.strategy, "--lease", lease, "--max-losses", 1000, "--max-restarts", 100_000)
        counts = ("--workers", workers, "--dispatchers", dispatchers)
        name = f"host{len(self.hosts)}"
        with undisturbed():
            self.hosts.append(
                Host(settings, self.directory, name, *common, *counts, *flags, target=target, environment=environment)
            )
        return self.hosts[-1]

    def begin(self, schedule: Callable[[], None]) -> None:
        """Wait for the hosts, then call ``schedule``, which plans and schedules tasks from ``base_us`` on."""
        for host in self.hosts:
            host.wait_ready()
            host.children()
        self._counted_from = _commands(self.settings.redis_url or "")
        self.base_us = now_us() + round((_LEAD_S + self.size.tasks / _RATE) * US)
        schedule()

    def begin_naps(self, *, longest_s: float = 0.06, at_once: bool = False, replicas: int = 0) -> None:
        """Like ``begin``, with tasks that nap, due at random moments of the duration, or all at its start."""

        def schedule() -> None:
            for number in range(self.size.tasks):
                due_s = 0.0 if at_once else self.chance.uniform(0, self.size.duration)
                self.plan[f"t{number}"] = self._planned(due_s, longest_s)
            self.schedule(list(self.plan), replicas=replicas)

        self.begin(schedule)

    def add(self, count: int, *, first_s: float) -> list[str]:
        """Plan more tasks, due between ``first_s`` and the end of the run; returns their ids."""
        ids = [f"more{len(self.plan) + number}" for number in range(count)]
        for task_id in ids:
            self.plan[task_id] = self._planned(self.chance.uniform(first_s, self.size.duration), 0.06)
        return ids

    def extra(self) -> str:
        """Schedule one more task, due now; returns its id. It counts as planned only if Redis acknowledges it."""
        task_id = f"extra{self._extras}"
        self._extras += 1
        self.plan[task_id] = self._planned(self.elapsed(), 0.0)
        try:
            self.schedule([task_id])
        except DueqError:
            del self.plan[task_id]
            raise
        return task_id

    def _planned(self, due_s: float, longest_s: float) -> Planned:
        """A task that is due ``due_s`` after the start of the run, and naps for at most ``longest_s``."""
        return Planned(self.base_us + round(due_s * US), round(self.chance.uniform(longest_s / 3, longest_s) * US))

    def schedule(self, task_ids: list[str], *, replicas: int = 0, replicas_within: float = 1.0) -> None:
        """Schedule planned tasks. Raises what ``Dueq.schedule_many`` does."""
        calls = []
        for task_id in task_ids:
            planned = self.plan[task_id]
            calls.append(nap.call_at(planned.due_us / US, id=task_id)(planned.due_us, planned.duration_us))
        self.app.schedule_many(calls, replicas=replicas, replicas_within=replicas_within)

    # -- time

    def elapsed(self) -> float:
        """Seconds since ``base_us``, when the first task could be due."""
        return (now_us() - self.base_us) / US

    def look(self) -> None:
        """Read the new lines of the ledger and, twice a second, the metrics pages."""
        self.book.add(self._reader.read())
        if time.monotonic() - self._page_at > _PAGE_S:
            self._page_at = time.monotonic()
            for host in self.hosts:
                host.read_page()

    def until(self, elapsed: float) -> None:
        """Keep looking until ``elapsed`` seconds of the run have passed."""
        while self.elapsed() < elapsed:
            time.sleep(min(_TICK_S, max(0.0, elapsed - self.elapsed())))
            self.look()

    def every(self, seconds: float, *, start: float | None = None) -> Iterator[float]:
        """Yield the elapsed time every ``seconds``, as long as the run lasts."""
        at = seconds if start is None else start
        while at < self.size.duration:
            self.until(at)
            yield at
            at += seconds

    def wait_for(self, predicate: Callable[[], object], within: float) -> bool:
        """Keep looking until ``predicate()`` holds; False if it does not hold ``within`` that many seconds."""
        deadline = time.monotonic() + within
        while not predicate():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_TICK_S)
            self.look()
        return True

    def finish(self, *, patience_s: float = 0.0, goes_on: Callable[[], bool] = lambda: False) -> None:
        """Wait until every task has finished, or until nothing moves any more; then stop the hosts.

        ``patience_s``: how much longer than usual nothing may move. When nothing has moved for so long, ``goes_on``
        decides whether to wait on.
        """
        self.until(self.size.duration)
        entries, moved_at = self.book.entries, time.monotonic()
        while self.book.lost:
            time.sleep(_TICK_S)
            self.look()
            if self.book.entries > entries:
                entries, moved_at = self.book.entries, time.monotonic()
            elif time.monotonic() - moved_at >= _STALLED_S + patience_s:
                if not goes_on():
                    break
                moved_at = time.monotonic()
        self.settle()
        run_id, commands = _commands(self.settings.redis_url or "")
        if run_id == self._counted_from[0]:
            self._commands_per_task = round((commands - self._counted_from[1]) / len(self.plan), 3)
        for host in self.hosts:
            if host.alive():
                host.children()
                host.exit_status = host.stop()
            elif not host.gone:
                host.exit_status = host.stop()  # it has ended by itself, which the checks will report
        self.look()

    def commands_per_task(self) -> float | None:
        """Redis commands from ``begin`` to ``finish`` divided by tasks; None if Redis was restarted or replaced."""
        return self._commands_per_task

    def settle(self) -> None:
        """Read the metrics pages until they count as many extra starts as the ledger, for at most a second."""
        deadline = time.monotonic() + 1.0
        while True:
            for host in self.hosts:
                host.read_page()
            extra = self.book.extra_starts
            if self.total("dueq_duplicates_total") >= extra or time.monotonic() > deadline:
                return
            time.sleep(0.05)

    # -- faults

    def mark(self, what: str, until_s: float | None = None) -> None:
        """Note a fault that is injected now."""
        self.marks.append(Mark(round(self.elapsed(), 3), what, until_s))

    def kill(self, process: psutil.Process, what: str) -> int:
        """SIGKILL to a process. Returns when that was, in microseconds by the ledger's clock."""
        self.mark(f"SIGKILL {what} {process.pid}")
        at_us = now_us()
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
        return at_us

    def any_worker(self, host: Host) -> psutil.Process | None:
        """A random worker of ``host``; None if there is none at the moment."""
        workers = sorted(host.children("worker"), key=lambda child: child.pid)
        return self.chance.choice(workers) if workers else None

    def busy_worker(self, host: Host, spared: Collection[str] = ()) -> tuple[psutil.Process, str] | None:
        """A random worker of ``host`` that runs a task now, and that task; None if no worker does.

        Workers that run one of the tasks ``spared`` do not count.
        """
        self.look()
        runs = self.book.running
        busy = [child for child in host.children("worker") if runs.get(child.pid, "") not in ("", *spared)]
        if not busy:
            return None
        chosen = self.chance.choice(sorted(busy, key=lambda child: child.pid))
        return chosen, self.book.running[chosen.pid]

    def stop_in_a_task(
        self, host: Host, spared: Collection[str] = (), *, within: float = 1.0
    ) -> tuple[psutil.Process, str] | None:
        """Like ``busy_worker``, and stop the worker (SIGSTOP) in the middle of its task, so that the task is known.

        None if no worker was caught ``within`` that many seconds; within one, ``buckets`` has due tasks for certain.
        """
        deadline = time.monotonic() + within
        while True:
            found = self.busy_worker(host, spared)
            with contextlib.suppress(psutil.NoSuchProcess):
                if found is not None and (task_id := self._stopped(found[0])) and task_id not in spared:
                    return found[0], task_id
                if found is not None:
                    found[0].resume()  # it had just finished its task
            if time.monotonic() >= deadline:
                return None
            time.sleep(_TICK_S)

    def _stopped(self, worker: psutil.Process) -> str:
        """Stop a worker. Returns the task that it is in the middle of, or an empty text."""
        worker.suspend()
        while worker.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.001)  # its current system call ends first
        self.look()
        return self.book.running.get(worker.pid, "")

    # -- verdict

    def check(self, what: str, expected: str, measured: object, ok: bool) -> None:
        self.checks.append(Check(what, expected, spelled(measured), ok))

    def total(self, metric: str, **labels: str) -> float:
        """The sum over all hosts' metrics pages, as last read."""
        return sum(host.page.total(metric, **labels) for host in self.hosts)

    def close(self) -> None:
        """End all that still runs. An error with one process does not keep the others running."""
        with undisturbed(), contextlib.ExitStack() as ends:
            ends.callback(self.server.stop)
            for host in self.hosts:
                if host.alive():
                    ends.callback(host.vanish)


def _commands(redis_url: str) -> tuple[str, int]:
    """The server's run id, which each start of a server changes, and how many commands it has run."""
    client = connect(redis_url)
    info: Any = client.info()
    client.connection_pool.disconnect()
    return info["run_id"], int(info["total_commands_processed"])


def p99_ms(values_us: list[int]) -> float | None:
    """The 99th percentile in milliseconds."""
    value = quantile(sorted(values_us), 0.99)
    return None if value is None else round(value / 1000, 1)
