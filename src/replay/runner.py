"""The replay: a real log, scheduled at its own times, run by real processes, judged by the ledger."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import ResponseError

from .. import strategies
from ..core.app.application import Dueq
from ..core.app.task import Call
from ..core.client.counting import COMMANDS
from ..core.client.failures import explained
from ..core.clock import US, now_us
from ..core.errors import ConfigurationError
from ..core.namespace import Namespace
from ..core.store.requirements import check
from ..harness import floor
from ..harness.account import Account, Planned
from ..harness.clocks import clock_offset_us
from ..harness.job_app import job
from ..harness.ledger import LedgerReader
from ..harness.metrics_page import Page, scrape
from ..harness.sandbox import namespace, temporary_directory, terminable
from ..harness.stats import summary_ms
from ..harness.supervised import SupervisedRun
from . import head_start
from .progress import Display
from .report import UNEXPLAINED, Report
from .traces import Job, read_trace

DEFAULT_CAP_S = 0.25
_CHUNK = 1000  # jobs scheduled between two updates of the bar
_TICK_S = 0.25
_STALLED_S = 60.0
_EXPLAIN_S = 2.0  # how long dueq's counters may take to catch up with the ledger
_LOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class _Work:
    """A prepared log: its jobs by their ids. Times are microseconds from the first job's due time."""

    jobs: dict[str, Planned]
    capped: int

    def planned(self, base_us: int) -> dict[str, Planned]:
        """The same with the first job due at ``base_us``."""
        return {task_id: Planned(base_us + job.due_us, job.duration_us) for task_id, job in self.jobs.items()}


def run_replay(
    trace: Path,
    *,
    speed: float,
    strategy: str | None = None,
    workers: int = 4,
    dispatchers: int = 1,
    cap: float = DEFAULT_CAP_S,
    limit: int | None = None,
    redis_url: str | None = None,
    metrics_port: int = 0,
    json: bool = False,
) -> Report:
    """Replay the log at ``trace``, ``speed`` times as fast, and return the report (docs/replay.md explains its keys).

    Each job sleeps its own run time divided by ``speed``, at most ``cap`` seconds. ``limit``: only the first jobs, that
    many. Without ``redis_url`` a server is started for this replay alone; with it, a namespace is made and purged.
    ``metrics_port`` 0 is any free port. With ``json`` only progress is written, to stderr.

    All that was started is ended and removed, also after an error or a signal. Raises ConfigurationError for a bad
    log or argument, StrategyUnavailable, BootFailure if dueq does not start, ServerUnavailable, ServerRefused or
    EmbeddedServerError.
    """
    strategy = strategy or strategies.DEFAULT
    _check(speed, workers, dispatchers, cap, limit)
    log = read_trace(trace)
    work = _prepare(log.jobs[:limit], speed, cap)
    with (
        terminable(),
        temporary_directory() as directory,
        namespace(redis_url, strategy, directory) as space,
        Display(len(work.jobs)) as display,
        explained(space.settings.redis_url or ""),
    ):
        check(space.client, type(space.strategy), space.keys, space.strategy.store)
        measured = floor.measure(space.settings.redis_url or "", space.settings.namespace)
        supervised = SupervisedRun(
            space.settings,
            directory,
            *("--strategy", strategy, "--workers", workers, "--dispatchers", dispatchers),
            *("--metrics-port", metrics_port),
        )
        try:
            supervised.wait_ready()
            if not json:
                display.say(f"metrics page while this runs: {supervised.metrics_url}")
            replay = _Replay(work, space, supervised, directory, display)
            replay.run()
        finally:
            exit_status = supervised.stop()
        replay.read_to_the_end()
        report = replay.report(workers, exit_status)
        if exit_status:
            display.say(f"dueq run ended with status {exit_status}; its log ends:\n{supervised.log_end()}")
    setting = {
        "trace": trace.name,
        "speed": speed,
        "strategy": strategy,
        "resolution_s": strategies.find(strategy).resolution,
        "workers": workers,
        "dispatchers": dispatchers,
        "cap_s": cap,
        "capped_jobs": work.capped,
        "skipped_records": log.skipped,
    }
    return report | setting | {"floor_ms": {"p50": measured.p50, "p99": measured.p99, "rounds": measured.rounds}}


class _Replay:
    """One replay, from the first job scheduled to the report."""

    def __init__(
        self, work: _Work, space: Namespace, supervised: SupervisedRun, directory: Path, display: Display
    ) -> None:
        self._supervised, self._display, self._client = supervised, display, space.client
        self._producer = Dueq(
            space.settings.redis_url, namespace=space.settings.namespace, strategy=space.strategy.name
        )
        # where the namespace goes by this host's clock, the server may lack TIME
        self._offset_us = clock_offset_us(space.client) if space.clock.of_server else 0
        lead_s = head_start.seconds(space.settings, len(work.jobs))
        self._base_us = self._now_us() + round(lead_s * US)
        self._plan = work.planned(self._base_us)
        self._account = Account(self._plan, offset_us=self._offset_us)
        self._reader = LedgerReader(directory)
        self._page: Page | None = None
        self._scheduling: dict[str, float | int] = {}
        self._commands: int | None = None
        self._sent = 0

    def run(self) -> None:
        """Schedule all jobs, watch until all have finished or nothing moves any more, and read dueq's counters."""
        before, sent = _commands_processed(self._client), COMMANDS.sent
        self._schedule()
        self._sent = COMMANDS.sent - sent
        self._watch()
        after = _commands_processed(self._client)
        self._commands = None if before is None or after is None else after - before
        if self._supervised.alive():
            self._compare_counts()

    def read_to_the_end(self) -> None:
        """Read the last entries of the ledger. To be called when no task runs any more."""
        self._account.add(self._reader.read())

    def report(self, workers: int, exit_status: int) -> dict[str, Any]:
        """The report of this replay, without its settings."""
        account, page = self._account, self._page or Page()
        unexplained = max(account.extra_starts - page.explained_starts, account.same_token) + account.strangers
        duration_s = max(0.0, (account.last_finish_us() - self._base_us) / US)
        slept_s = sum(self._plan[task_id].duration_us for task_id in account.finishes()) / US
        sent = {"producer": self._sent, **page.commands}
        free = account.lateness_with_free_worker_us(workers)
        return {
            "scheduled": len(self._plan),
            "finished": account.finished,
            "lost": account.lost,
            "lost_ids": account.lost_ids()[:_LOST_SHOWN],
            "early": account.early,
            "duplicates": {**page.duplicates, UNEXPLAINED: unexplained},
            "ledger_extra_starts": account.extra_starts,
            "ledger_garbled": self._reader.garbled + self._reader.torn,
            "lateness_ms": summary_ms(account.lateness_us()),
            "lateness_free_worker_ms": summary_ms(free) | {"jobs": len(free)},
            "restarts": page.restarts,
            "duration_s": round(duration_s, 3),
            "utilisation": round(slept_s / (workers * duration_s), 4) if duration_s else 0.0,
            "redis_commands_per_task": None if self._commands is None else round(self._commands / len(self._plan), 3),
            "redis_commands_sent_per_task": round(sum(sent.values()) / len(self._plan), 3),
            "redis_commands_sent": sent,
            "scheduling": self._scheduling,
            "clock_offset_us": self._offset_us,
            "supervisor_exit": exit_status,
            "dueq_says": self._page and {"early": page.early, "duplicates": sum(page.duplicates.values())},
        }

    # -- steps

    def _schedule(self) -> None:
        began = time.perf_counter()
        done = 0
        for calls in _chunks(self._plan):
            handles = self._producer.schedule_many(calls)
            done += sum(handle.created for handle in handles)
            self._display.scheduled(done)
        took = time.perf_counter() - began
        assert done == len(self._plan), "a fresh namespace knew some of our ids"
        late = sum(planned.due_us <= self._now_us() for planned in self._plan.values())
        self._scheduling = {"seconds": round(took, 3), "per_second": round(done / took, 1), "late_jobs": late}

    def _watch(self) -> None:
        moved_us = self._now_us()
        while True:
            time.sleep(_TICK_S)
            alive = self._supervised.alive()  # checked before the ledger is read, so that its last lines are read
            entries = self._account.entries
            self._account.add(self._reader.read())
            if self._account.entries > entries:
                moved_us = self._now_us()
            self._display.running(self._account, self._now_us())
            if not self._account.lost or not alive:
                return
            if self._now_us() - moved_us > _STALLED_S * US:
                quiet_us = self._now_us() - max(moved_us, self._account.quiet_since_us())
                if quiet_us > _STALLED_S * US:
                    self._display.say(f"nothing has moved for {_STALLED_S:.0f} s: given up")
                    return

    def _compare_counts(self) -> None:
        deadline = time.monotonic() + _EXPLAIN_S
        while True:
            self._page = scrape(self._supervised.metrics_url) or self._page
            explained = self._page.explained_starts if self._page is not None else -1
            if self._account.extra_starts <= explained or time.monotonic() >= deadline:
                return
            time.sleep(_TICK_S)

    def _now_us(self) -> int:
        """The time by the clock that due times go by."""
        return now_us() + self._offset_us


def _check(speed: float, workers: int, dispatchers: int, cap: float, limit: int | None) -> None:
    if not (math.isfinite(speed) and speed > 0):
        raise ConfigurationError(f"speed is {speed}, but must be above 0: 1 is as recorded, 60 makes a minute a second")
    if workers < 1 or dispatchers < 1:
        raise ConfigurationError("a replay needs at least one worker and one dispatcher")
    if not (math.isfinite(cap) and cap >= 0):
        raise ConfigurationError(f"cap is {cap}, but must be at least 0 seconds")
    if limit is not None and limit < 1:
        raise ConfigurationError(f"limit is {limit}, but must be at least 1 job")


def _prepare(jobs: list[Job], speed: float, cap: float) -> _Work:
    first = jobs[0].due_s
    made = {}
    for number, each in enumerate(jobs):
        duration_s = min(each.duration_s / speed, cap)
        made[f"job-{number}"] = Planned(round((each.due_s - first) / speed * US), round(duration_s * US))
    return _Work(made, sum(each.duration_s / speed > cap for each in jobs))


def _chunks(plan: dict[str, Planned]) -> Iterator[list[Call]]:
    calls: list[Call] = []
    for task_id, planned in plan.items():
        calls.append(job.call_at(planned.due_us / US, id=task_id)(planned.due_us, planned.duration_us))
        if len(calls) == _CHUNK:
            yield calls
            calls = []
    if calls:
        yield calls


def _commands_processed(client: redis.Redis) -> int | None:
    """How many commands the server has run for all clients, with those inside scripts if it counts them.

    None if this user may not give INFO.
    """
    try:
        return int(client.info()["total_commands_processed"])  # Redis 2.4 knows no sections
    except ResponseError:
        return None
