"""Each suite, small, with real processes on a real server: it reports what it should, also losses and duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dueq.bench.figures import TARGETS, Figure
from dueq.bench.marks import Marks
from dueq.bench.place import Place, place
from dueq.bench.report import Setting, curve_ms, is_clean, make, troubles
from dueq.bench.sizes import Sizes
from dueq.bench.suites import SUITES
from dueq.bench.work import Found, Work
from dueq.core.clock import US
from dueq.harness.ledger import DIRECTORY_VARIABLE

pytestmark = pytest.mark.processes

TINY = Sizes(
    floor_rounds=20,
    benchmark_requests=1_000,
    lateness=40,
    burst=100,
    throughput=200,
    one_by_one=30,
    bulk=1_500,
    idle_s=1.0,
    memory=2_000,
    pending=(50, 1_000),
    probes=20,
    fill_s=20.0,
    dispatched=300,
    dispatchers=(1, 2),
    kills=2,
    starts=2,
    outages=1,
    cut_short=40,
)

PLAYED = [
    *(("lua", suite) for suite in SUITES),
    *[("buckets", "lateness"), ("tmpset", "burst"), ("watch", "throughput"), ("keyspace", "scale")],
    *[("tmpset", "dispatchers"), ("watch", "recovery"), ("buckets", "memory")],
]


@contextmanager
def tiny(strategy: str, sizes: Sizes = TINY) -> Iterator[Place]:
    with place(None, strategy, sizes, lambda what, done, total: None) as where:
        yield where


def by_name(found: Found) -> dict[str, list[Figure]]:
    figures: dict[str, list[Figure]] = {}
    for figure in found.figures:
        figures.setdefault(figure.name, []).append(figure)
    return figures


def value(figures: dict[str, list[Figure]], name: str) -> float:
    (figure,) = figures[name]
    assert figure.value is not None
    return figure.value


@pytest.mark.long
@pytest.mark.parametrize(("strategy", "suite"), PLAYED)
def test_a_suite(temporary: Path, strategy: str, suite: str) -> None:
    with tiny(strategy) as where:
        found = SUITES[suite].play(where)
    report = make(Setting(strategy, TINY, None, "a server"), {suite: found}, {}, {}, 1.0)
    assert troubles(report) == []
    assert is_clean(report)
    assert found.scheduled == found.finished == SCHEDULED[suite]
    assert all(figure.suite == suite and figure.value is not None for figure in found.figures)
    assert {name for of, name in TARGETS if of == suite} <= by_name(found).keys()
    LOOK[suite](by_name(found), found)
    assert not list(temporary.iterdir())


SCHEDULED = {
    **dict.fromkeys(SUITES, 0),
    "lateness": TINY.lateness,
    "burst": TINY.burst,
    "throughput": TINY.throughput,
    "scale": TINY.probes * len(TINY.pending),
    "dispatchers": TINY.dispatched * len(TINY.dispatchers),
    "recovery": TINY.kills,
    "startup": TINY.starts,
    "restart": TINY.outages * TINY.cut_short,
}


def lateness(figures: dict[str, list[Figure]], found: Found) -> None:
    for quantile in ("p50", "p95", "max"):
        ready, leased, started = (value(figures, f"{stage} {quantile}") for stage in ("ready", "leased", "started"))
        assert 0 <= ready <= leased <= started < 5_000
    assert figures["started p50"][0].floor
    assert figures["started p50"][0].floor_name == "wake-up of a blocked client"
    assert len(found.lateness_us) == TINY.lateness
    assert value(figures, "commands a task") > 5
    assert value(figures, "Redis time a task") > 1
    assert not any("journal" in note for note in found.notes)


def burst(figures: dict[str, list[Figure]], found: Found) -> None:
    assert value(figures, "started") > 10
    assert 0 <= value(figures, "first started after") <= value(figures, "last started after") < 10_000


def throughput(figures: dict[str, list[Figure]], found: Found) -> None:
    assert 10 < value(figures, "done") < 1_000_000
    assert value(figures, "worker CPU a task") >= 0
    assert value(figures, "Redis CPU a task") > 1
    assert figures["Redis CPU a task"][0].floor
    assert 5 < value(figures, "Redis commands a task") < 500


def schedule(figures: dict[str, list[Figure]], found: Found) -> None:
    assert 10 < value(figures, "one by one") < value(figures, "bulk")
    assert figures["one by one"][0].floor


def idle(figures: dict[str, list[Figure]], found: Found) -> None:
    assert value(figures, "processes") == 5  # two workers, a dispatcher, a reaper, the supervisor
    assert value(figures, "commands a process") < 50


def memory(figures: dict[str, list[Figure]], found: Found) -> None:
    assert 100 < value(figures, "Redis a pending task") < 5_000
    assert value(figures, "processes in all") > 10


def scale(figures: dict[str, list[Figure]], found: Found) -> None:
    assert [figure.at for figure in figures["started p99"]] == list(TINY.pending)
    assert [figure.at for figure in figures["Redis time a task"]] == list(TINY.pending)
    assert value(figures, "started p99, most ÷ fewest pending") > 0


def dispatchers(figures: dict[str, list[Figure]], found: Found) -> None:
    assert [figure.at for figure in figures["made ready"]] == list(TINY.dispatchers)
    first, *_ = figures["conflicts"]
    assert (first.at, first.value) == (1, 0)  # one alone has nobody to be in conflict with
    assert not [note for note in found.notes if "were awake" in note]  # sleepers are in nobody's way


def recovery(figures: dict[str, list[Figure]], found: Found) -> None:
    assert found.duplicates["worker_lost"] == TINY.kills
    assert found.restarts >= TINY.kills
    assert 0 < value(figures, "run again p50") < 10_000


def startup(figures: dict[str, list[Figure]], found: Found) -> None:
    assert 50 < value(figures, "first start p50") <= value(figures, "first start max") < 30_000
    assert 10 < (figures["first start p50"][0].floor or 0) < value(figures, "first start p50")


def restart(figures: dict[str, list[Figure]], found: Found) -> None:
    assert found.duplicates["worker_lost"] + found.duplicates["lease_expired"] > 0
    assert 0 <= value(figures, "run again p50") <= value(figures, "run again max") < 30_000


LOOK: dict[str, Any] = {
    "lateness": lateness,
    "burst": burst,
    "throughput": throughput,
    "schedule": schedule,
    "idle": idle,
    "memory": memory,
    "scale": scale,
    "dispatchers": dispatchers,
    "recovery": recovery,
    "startup": startup,
    "restart": restart,
}


def test_what_was_lost_early_or_run_twice_is_seen(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody works here but this test, and it works badly: the report says each of it."""
    with tiny("lua") as where:
        monkeypatch.setenv(DIRECTORY_VARIABLE, str(where.directory))
        work, marks = Work(where), Marks(where.directory)
        now_us = where.now_us()
        with where.engine(workers=0) as host:
            work.schedule([now_us, now_us, now_us, now_us + 3600 * US, now_us])
            for number in (0, 1, 1, 2, 3):  # 1 runs twice, 3 too early, 4 not at all
                marks.start(number)
            for number in (0, 1, 1, 3):  # 2 does not come to its end
                marks.finish(number)
        found = work.judge(host)
    assert (found.scheduled, found.finished, found.lost, found.early) == (5, 3, 2, 1)
    assert found.duplicates["unexplained"] == 1
    report = make(Setting("lua", TINY, None), {"burst": found}, {}, {}, 1.0)
    assert not is_clean(report)
    told = " ".join(troubles(report))
    assert "2 tasks lost" in told
    assert "1 starts before the due time" in told
    assert "1 duplicate starts without a cause" in told


def test_a_curve_ends_with_the_latest() -> None:
    assert curve_ms([]) == []
    curve = curve_ms([1_000, 2_000, 3_000, 400_000])
    assert curve[-1] == [1.0, 400.0]
    assert [late for share, late in curve if share == 0.5] == [2.0]
    assert curve == sorted(curve)
