"""A real run to watch: engines under three strategies, a real Prometheus that scrapes them, and the ledger.

In a run with faults, workers are killed at random, one task kills its workers, and more work is due at once than can be
done on time.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
from support.waiting import wait_until

from dueq.chaos.stage import Size, Stage
from dueq.chaos.tasks import nap, poison
from dueq.core.clock import US
from dueq.harness.account import Planned
from dueq.harness.host import Host
from dueq.harness.ledger import Finish, LedgerReader, Start
from dueq.harness.metrics_page import Page

from .prometheus import Prometheus, Window

WORKERS = 2
DISPATCHERS = 2
"""Enough for conflicts under watch."""
HOSTS = {"lua": 2, "watch": 1, "buckets": 1}
"""Supervisors that share the workers and dispatchers: what two of them show alike must not be added up."""
_SIZE = Size(tasks=80, duration=9.0, seed=11)
_BURST, _BURST_AT_S, _BURST_NAP_US = 24, 5.0, 150_000  # 24 naps for 2 workers: the last one starts 1.6 s late
_KILL_EVERY_S = 2.0
_LOSSES = 2  # workers that the poison takes with it before it is given up on


@dataclass(slots=True)
class Facts:
    """What the ledger, and whoever did it, know of one engine."""

    starts: list[Start] = field(default_factory=list)
    finishes: list[Finish] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    """Starts beyond the first, by cause."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the loss of a worker until its task ran again."""
    early: int = 0
    scheduled: int = 0
    kills: int = 0
    """Workers killed from outside, and by the poison."""
    memory: Counter[str] = field(default_factory=Counter)
    """Bytes by role, as the system says."""
    instances: list[str] = field(default_factory=list)
    """What Prometheus calls its supervisors."""
    pages: list[tuple[Page, Page]] = field(default_factory=list)
    """What the page of each said when the window began, and at the end."""
    texts: list[str] = field(default_factory=list)
    """The same at the end, as they were served."""

    def told(self, metric: str, **labels: str) -> float:
        """By how much the pages' numbers rose: for what no ledger knows."""
        return sum(after.total(metric, **labels) - before.total(metric, **labels) for before, after in self.pages)

    @property
    def late(self) -> list[float]:
        """Seconds by which each start was late, in order."""
        return sorted((start.at_us - start.due_us) / US for start in self.starts)

    @property
    def durations(self) -> list[float]:
        """Seconds that each task took that finished, in order."""
        began = {start.token: start.at_us for start in self.starts}
        return sorted((finish.at_us - began[finish.token]) / US for finish in self.finishes)


@dataclass(slots=True)
class Scene:
    """The run when it is over; Prometheus still answers."""

    prometheus: Prometheus
    window: Window
    facts: dict[str, Facts]
    alerts: set[str]
    """Those that fired at the end."""


@contextmanager
def played(directory: Path, *, faulty: bool = True) -> Iterator[Scene]:
    """Play it all; everything is ended on the way out. Without faults, nothing is done to the engines."""
    with ExitStack() as ending:
        plays = []
        for strategy in HOSTS:
            (directory / strategy).mkdir()
            stage = Stage("scene", strategy, _SIZE, directory / strategy, {})
            ending.callback(stage.close)
            plays.append(_Play(stage, faulty))
        for play in plays:
            play.wait_ready()
        targets = [instance for play in plays for instance in play.instances]
        prometheus = Prometheus(directory, targets)
        ending.callback(prometheus.close)
        wait_until(lambda: prometheus.last_scrape(len(targets)), 20, what="every page was scraped")
        start = time.time()
        for play in plays:
            play.look_before()
        # what was counted by then is no news to the window, which begins up to a second after its start
        wait_until(lambda: prometheus.last_scrape(len(targets)) > start + 1, 20, what="a first scrape")
        _go(plays)
        settled = time.time() + 1  # the rules are evaluated each second, too
        wait_until(lambda: prometheus.last_scrape(len(targets)) > settled, 20, what="a last scrape")
        end = prometheus.last_scrape(len(targets))
        firing = {
            alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"] if alert["state"] == "firing"
        }
        facts = {play.stage.strategy: play.facts() for play in plays}
        for play in plays:
            play.stage.finish()
        yield Scene(prometheus, Window(start, end), facts, firing)


class _Play:
    """One engine and what is done to it."""

    def __init__(self, stage: Stage, faulty: bool) -> None:
        self.stage, self._faulty = stage, faulty
        hosts = HOSTS[stage.strategy]
        workers, dispatchers = WORKERS // hosts, DISPATCHERS // hosts
        self.hosts = [
            stage.host("--max-losses", _LOSSES, workers=workers, dispatchers=dispatchers) for _ in range(hosts)
        ]
        self._hit: dict[str, int] = {}
        self._kill_at = 0.0
        self._before: list[Page] = []

    @property
    def instances(self) -> list[str]:
        return [urlsplit(host.metrics_url).netloc for host in self.hosts]

    def wait_ready(self) -> None:
        for host in self.hosts:
            host.wait_ready()

    def look_before(self) -> None:
        for host in self.hosts:
            host.read_page()
            self._before.append(host.page)

    def begin(self) -> None:
        stage = self.stage
        stage.begin_naps(longest_s=0.1)
        if self._faulty:
            self._overload_and_poison(stage)

    def _overload_and_poison(self, stage: Stage) -> None:
        due_us = stage.base_us + round(_BURST_AT_S * US)
        burst = [f"burst{number}" for number in range(_BURST)]
        stage.plan.update(dict.fromkeys(burst, Planned(due_us, _BURST_NAP_US)))
        stage.schedule(burst)
        *_, unwanted = stage.app.schedule_many(
            [
                poison.call_at(stage.base_us / US + 1, id="poison")(stage.base_us + US),
                nap.call_after(3600, id="unwanted")(0, 0),
            ]
        )
        assert unwanted.cancel()
        self._kill_at = _KILL_EVERY_S

    def turn(self) -> None:
        """Look at the ledger; now and then kill a worker that is in the middle of a task."""
        stage = self.stage
        stage.look()
        if self._faulty and self._kill_at <= stage.elapsed() < _SIZE.duration and (busy := self._busy_worker()):
            worker, task_id = busy
            if task_id not in self._hit:  # a second time would bury it
                self._hit[task_id] = stage.kill(worker, "worker")
                self._kill_at = stage.elapsed() + _KILL_EVERY_S

    def _busy_worker(self) -> tuple[psutil.Process, str] | None:
        found = [busy for host in self.hosts if (busy := self.stage.busy_worker(host))]
        return self.stage.chance.choice(found) if found else None

    def unfinished(self) -> str:
        """What has not finished, and what it had come to."""
        book = self.stage.book
        return f"{self.stage.strategy}: { ({task_id: book.by_task[task_id] for task_id in book.lost_ids()}) }"

    def over(self) -> bool:
        """All is done, and whoever was killed has a successor that is ready."""
        ready = WORKERS + DISPATCHERS + len(self.hosts)  # and a reaper each
        return (
            self.stage.elapsed() > _SIZE.duration
            and not self.stage.book.lost
            and self.stage.total("dueq_processes", state="ready") == ready
        )

    def facts(self) -> Facts:
        """Of now, with all tasks done and the engine still up."""
        stage, book = self.stage, self.stage.book
        stage.settle()
        poisoned = [entry for entry in book.apart if isinstance(entry, Start) and entry.id == "poison"]
        times = [start.at_us for start in poisoned]
        again = (book.restarted_after(task_id, at_us) for task_id, at_us in self._hit.items())
        took = [*again, *(late - early for early, late in itertools.pairwise(times))]
        duplicates = book.duplicates() + Counter(start.cause for start in poisoned[1:])
        ledger = LedgerReader(stage.directory).read()
        return Facts(
            starts=[*(start for starts in book.by_task.values() for start in starts), *poisoned],
            finishes=[entry for entry in ledger if isinstance(entry, Finish)],
            duplicates=duplicates,
            recoveries=sorted(us / US for us in took if us is not None),
            early=book.early,
            scheduled=len(stage.plan) + 2,
            kills=len(self._hit) + len(poisoned),
            memory=self._memory(),
            instances=self.instances,
            pages=[(before, host.page) for before, host in zip(self._before, self.hosts, strict=True)],
            texts=[_served(host) for host in self.hosts],
        )

    def _memory(self) -> Counter[str]:
        found = Counter[str]()
        for host in self.hosts:
            found["supervisor"] += psutil.Process(host.pid).memory_info().rss
            for role in ("worker", "dispatcher", "reaper"):
                found[role] += sum(child.memory_info().rss for child in host.children(role))
        return found


def _served(host: Host) -> str:
    with urlopen(host.metrics_url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def _go(plays: list[_Play]) -> None:
    """Let the tasks become due, and kill, until everything has finished."""
    for play in plays:
        play.begin()
    deadline = time.monotonic() + _SIZE.duration + 30
    while not all(play.over() for play in plays):
        assert time.monotonic() < deadline, [play.unfinished() for play in plays]
        for play in plays:
            play.turn()
        time.sleep(0.02)
