"""Counting in real processes that are killed, and the page that shows all counters."""

from __future__ import annotations

import gc
import mmap
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import multiprocess
import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from dueq.core.app.payload import encode_body
from dueq.core.client.counting import COMMANDS
from dueq.core.client.embedded import EmbeddedServer
from dueq.core.clock import US, now_us
from dueq.core.config import Settings
from dueq.core.namespace import Namespace
from dueq.core.store.values import NewTask
from dueq.core.telemetry.collector import Collector
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.metrics import DEFINITIONS

NOBODY = "redis://127.0.0.1:1"
ODD = 'say "hi"\\n\nto ü'
DELIVERIES, LATENESS = "dueq_deliveries_total", "dueq_task_lateness_seconds"
FIRST = {"strategy": "lua", "queue": "default", "reason": "first"}
STARTED = {"strategy": "lua", "queue": "default", "stage": "started"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def collector_of(url: str = NOBODY) -> Collector:
    tasks = {ODD: "default", "mail": "slow"}
    return Collector(Settings(redis_url=url, namespace="shop"), "lua", ["default", "slow"], tasks)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = collector_of()
    yield collector
    collector.close()


def scrape(collector: Collector) -> Samples:
    """Every sample of the page, read back from its text."""
    registry = CollectorRegistry()
    registry.register(collector)
    families = parse_text(generate_latest(registry).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def collect(collector: Collector) -> Samples:
    """The same without the text in between, which takes long to parse."""
    return {(s.name, frozenset(s.labels.items())): s.value for family in collector.collect() for s in family.samples}


def value(samples: Samples, name: str, /, **labels: str) -> float | None:
    return samples.get((name, frozenset({**labels, "namespace": "shop"}.items())))


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def shared_integers(path: Path) -> memoryview[int]:
    if not path.exists():
        path.write_bytes(bytes(4096))
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 4096)).cast("q")


def count_until_killed(counters: Counters, path: Path) -> None:
    """A child that counts in its page and, after each step, in a file of its own."""
    done = shared_integers(path)
    counters.state = "ready"
    deliveries, lateness = counters.counter(DELIVERIES, **FIRST), counters.histogram(LATENESS, **STARTED)
    n = 0
    while True:
        n += 1
        counters.turn()
        deliveries.inc()
        done[0] = n
        lateness.observe(0.25)
        done[1] = n
        counters.counter(DELIVERIES, strategy="lua", queue=f"q{n % 40}", reason="retry").inc()
        done[2] = n


def counted(samples: Samples) -> list[float]:
    retries = (v for (name, labels), v in samples.items() if name == DELIVERIES and ("reason", "retry") in labels)
    first, late = value(samples, DELIVERIES, **FIRST), value(samples, f"{LATENESS}_count", **STARTED)
    assert first is not None
    assert late is not None
    return [first, late, sum(retries)]


@pytest.mark.long
def test_sigkill_50_times_while_reading(collector: Collector, tmp_path: Path) -> None:
    forkserver = multiprocess.get_context("forkserver")  # passes the page like spawn, but starts ten times faster
    forkserver.set_forkserver_preload(["pytest", "psutil", "prometheus_client", "dueq.core.telemetry.collector"])
    started_any_way = [multiprocess.get_context("spawn")] * 4 + [forkserver] * 46
    chance = random.Random(7)
    before: Samples = {}
    recorded = [0, 0, 0]
    open_files: set[int] = set()

    def look() -> Samples:
        nonlocal before
        now = collect(collector)
        fallen = [key for key, old in before.items() if "_total" in key[0] or "_seconds_" in key[0] if now[key] < old]
        assert fallen == []
        before = now
        return now

    for round_, context in enumerate(started_any_way):
        counters = Counters()
        collector.adopt(counters, "worker")
        done = shared_integers(tmp_path / str(round_))
        child = context.Process(target=count_until_killed, args=(counters, tmp_path / str(round_)))
        child.start()
        try:
            wait_until(lambda done=done: done[2] > 0)  # type: ignore[misc]
            assert counters.state == "ready"
            assert abs(time.monotonic() - counters.turn_by) < 10
            look()
            time.sleep(chance.random() * 0.01)
            look()
        finally:
            child.kill()
            child.join()
        at_death = [a - b for a, b in zip(counted(look()), recorded, strict=True)]
        for k in range(3):
            # the child records each step after counting it: it may have died in between, so never less, at most 1 more
            assert at_death[k] - done[k] in (0, 1)
        recorded = [round(total) for total in counted(before)]
        collector.retire(counters)
        collector.retire(counters)  # no harm
        assert counted(look()) == recorded
        child.close()
        if round_ >= 4:
            gc.collect()
            open_files.add(psutil.Process().num_fds())
    assert len(open_files) <= 2
    assert max(open_files) - min(open_files) <= 1  # descriptors do not grow with restarts
    assert len([key for key in before if key[0] == "dueq_processes" and before[key]]) == 0


def test_histogram_is_cumulative_and_adds_up(collector: Collector) -> None:
    live = Counters()
    collector.adopt(live, "worker")
    for seconds in (0.0005, 0.0006, 1.0, 4000.0, -3.0):
        live.histogram(LATENESS, **STARTED).observe(seconds)
    collector.own.histogram(LATENESS, **STARTED).observe(1.0)
    samples = scrape(collector)
    bounds = [str(bound) for bound in DEFINITIONS[LATENESS].buckets] + ["+Inf"]
    counts = [value(samples, f"{LATENESS}_bucket", **STARTED, le=bound) for bound in bounds]
    assert counts[0] == 2  # the bound itself, and the negative
    assert counts == sorted(counts, key=lambda count: count or 0)
    assert counts[bounds.index("0.5")] == 3
    assert counts[bounds.index("1.0")] == 5
    assert counts[-1] == value(samples, f"{LATENESS}_count", **STARTED) == 6
    assert value(samples, f"{LATENESS}_sum", **STARTED) == pytest.approx(4002.0011)
    collector.retire(live)
    after = scrape(collector)
    assert {k: v for k, v in after.items() if k[0].startswith(LATENESS)} == {
        k: v for k, v in samples.items() if k[0].startswith(LATENESS)
    }


def test_what_can_be_foreseen_reads_zero(collector: Collector) -> None:
    samples = scrape(collector)
    for queue in ("default", "slow"):
        common = {"strategy": "lua", "queue": queue}
        for cause in ("worker_lost", "lease_expired", "dispatch", "stale_ack"):
            assert value(samples, "dueq_duplicates_total", **common, cause=cause) == 0
        for outcome in ("done", "retried", "snoozed", "dead", "misfired"):
            assert value(samples, "dueq_tasks_finished_total", **common, outcome=outcome) == 0
        for stage in ("ready", "leased", "started"):
            assert value(samples, f"{LATENESS}_count", **common, stage=stage) == 0
        assert value(samples, "dueq_early_starts_total", **common) == 0
    assert value(samples, "dueq_process_restarts_total", role="dispatcher", cause="hung") == 0
    assert value(samples, "dueq_dispatch_wakeups_total", strategy="lua", reason="safety_net") == 0
    assert value(samples, "dueq_dispatch_conflicts_total", strategy="lua") == 0
    assert value(samples, "dueq_audit_repairs_total", strategy="lua", kind="scheduled") == 0
    assert value(samples, "dueq_recovery_seconds_count", cause="worker_lost") == 0
    assert value(samples, "dueq_redis_commands_total", role="worker") == 0
    assert value(samples, "dueq_processes", role="worker", state="draining") == 0
    task_of_its_queue = {"strategy": "lua", "queue": "slow", "task": "mail"}
    assert value(samples, "dueq_task_duration_seconds_count", **task_of_its_queue) == 0
    assert value(samples, "dueq_task_duration_seconds_count", **task_of_its_queue | {"queue": "default"}) is None


def test_page_parses_and_odd_labels_survive(collector: Collector) -> None:
    odd = {"strategy": "lua", "queue": "default", "task": ODD}
    collector.own.histogram("dueq_task_duration_seconds", **odd).observe(2)
    samples = scrape(collector)
    assert value(samples, "dueq_task_duration_seconds_sum", **odd) == 2
    assert all(("namespace", "shop") in labels for _, labels in samples)
    assert not [name for name, _ in samples if name.endswith("_created")]
    registry = CollectorRegistry()
    registry.register(collector)
    text = openmetrics.generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    families = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    assert {family.name for family in families} <= {name.removesuffix("_total") for name in DEFINITIONS}
    only = generate_latest(registry.restricted_registry(["dueq_redis_up"])).decode()
    assert re.findall(r"^dueq\S+", only, re.MULTILINE) == ['dueq_redis_up{namespace="shop"}']


def test_processes_are_counted_by_role_and_state(collector: Collector) -> None:
    pages = [Counters() for _ in range(3)]
    for counters in pages:
        collector.adopt(counters, "worker")
    pages[0].state = "draining"
    samples = scrape(collector)
    assert value(samples, "dueq_processes", role="worker", state="booting") == 2
    assert value(samples, "dueq_processes", role="worker", state="draining") == 1
    for counters in pages:
        collector.retire(counters)
    assert value(scrape(collector), "dueq_processes", role="worker", state="booting") == 0


def test_a_retired_page_is_given_back_at_once_whoever_remembers_it(collector: Collector) -> None:
    """Else each restart costs two descriptors and a MiB for as long as anybody holds on to the dead child."""
    counters = Counters()
    counters.counter(DELIVERIES, **FIRST).inc(3)
    collector.adopt(counters, "worker")
    collector.retire(counters)
    with pytest.raises(ValueError, match="released"):
        counters.series()
    assert value(scrape(collector), DELIVERIES, **FIRST) == 3


def test_threads_of_one_process_lose_nothing() -> None:
    counters = Counters()
    counter = counters.counter(DELIVERIES, **FIRST)

    def count() -> None:
        for _ in range(20_000):
            counter.inc()
            counters.counter(DELIVERIES, reason="retry", queue="q", strategy="lua").inc()

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(series.labels, series.values) for series in counters.series()] == [
        (("lua", "default", "first"), (60_000,)),
        (("lua", "q", "retry"), (60_000,)),
    ]
    counters.close()


def test_handles_are_cached_and_checked() -> None:
    counters = Counters()
    assert counters.counter(DELIVERIES, **FIRST) is counters.counter(DELIVERIES, **dict(reversed(FIRST.items())))
    with pytest.raises(TypeError, match="labels"):
        counters.counter(DELIVERIES, strategy="lua")
    with pytest.raises(TypeError, match="histogram"):
        counters.counter(LATENESS, **STARTED)
    with pytest.raises(KeyError):
        counters.counter("dueq_typo_total")
    counters.mirror_commands("worker")
    COMMANDS.add(3)
    counters.mirror_commands("worker")
    assert counters.series()[-1].values == (COMMANDS.sent,)
    counters.close()


def test_full_page_loses_new_series_only(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters(4096)
    kept = counters.counter(DELIVERIES, **FIRST)
    for n in range(100):
        counters.histogram(LATENESS, strategy="lua", queue=f"q{n}", stage="started").observe(1)
    kept.inc()
    stored = counters.series()
    assert sum(stored[0].values) == 1
    assert 1 < len(stored) < 101
    assert counters.overflowed == 101 - len(stored)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    counters.close()


def test_half_written_series_is_not_shown() -> None:
    counters = Counters()
    counters.counter(DELIVERIES, **FIRST).inc()
    end = counters._ints[0]
    counters._ints[end : end + 2] = memoryview(bytes(16)).cast("q")
    counters._ints[0] = end + 9  # the end has been seen to move, what lies before it has not
    assert len(counters.series()) == 1
    counters._ints[end], counters._ints[end + 1] = 9, 48
    counters._page[(end + 2) * 8 : (end + 2) * 8 + 9] = b'["dueq_de'
    assert len(counters.series()) == 1
    counters._ints[0] = end
    counters.counter(DELIVERIES, strategy="lua", queue="q", reason="retry").inc(2)
    assert [series.values for series in counters.series()] == [(1,), (2,)]
    counters.close()


def test_counters_can_only_be_given_to_a_child() -> None:
    counters = Counters()
    with pytest.raises(RuntimeError, match="inheritance"):
        counters.__getstate__()
    counters.close()


def test_redis_down_is_told_at_once(collector: Collector) -> None:
    collector.own.counter("dueq_process_restarts_total", role="worker", cause="signal").inc()
    began = time.monotonic()
    samples = scrape(collector)
    assert time.monotonic() - began < 1
    assert value(samples, "dueq_redis_up") == 0
    assert value(samples, "dueq_clock_skew_seconds") is None
    assert value(samples, "dueq_process_restarts_total", role="worker", cause="signal") == 1
    assert "dueq_tasks" not in {name for name, _ in samples}


def test_silent_redis_holds_up_the_page_for_a_second() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        collector = collector_of(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        seen: list[float | None] = []
        scrapers = [
            threading.Thread(target=lambda: seen.append(value(scrape(collector), "dueq_redis_up"))) for _ in "ab"
        ]
        for thread in scrapers:
            thread.start()
        for thread in scrapers:
            thread.join()
        assert seen == [0, 0]
        assert 0.9 < time.monotonic() - began < 2
        collector.close()


def test_what_redis_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = EmbeddedServer(tmp_path_factory.mktemp("r") / "d")
    url = server.start()
    try:
        namespace = Namespace.open(Settings(redis_url=url, namespace="shop"))
        namespace.claim()
        body = encode_body("mail", [], {}, 1000)
        now = now_us()
        tasks = [NewTask(f"t{n}", "default", now + n * 100 * US, body) for n in range(3)]
        namespace.store.schedule(tasks)
        assert namespace.store.cancel("t2")
        collector = collector_of(url)
        time.sleep(0.1)
        samples = scrape(collector)
        default = {"strategy": "lua", "queue": "default"}
        assert value(samples, "dueq_redis_up") == 1
        skew = value(samples, "dueq_clock_skew_seconds")
        assert skew is not None
        assert abs(skew) < 0.5
        assert value(samples, "dueq_tasks", **default, state="scheduled") == 2
        assert value(samples, "dueq_tasks", strategy="lua", queue="slow", state="dead") == 0
        overdue = value(samples, "dueq_oldest_overdue_seconds", **default)
        assert overdue is not None
        assert 0.1 <= overdue < 10
        assert value(samples, "dueq_tasks_scheduled_total", **default) == 3
        assert value(samples, "dueq_tasks_scheduled_total", strategy="lua", queue="slow") == 0
        assert value(samples, "dueq_tasks_finished_total", **default, outcome="cancelled") == 1
        assert (value(samples, "dueq_redis_commands_total", role="supervisor") or 0) > 0

        namespace.strategy.dispatch(100)
        samples = scrape(collector)
        assert value(samples, "dueq_tasks", **default, state="ready") == 1
        overdue = value(samples, "dueq_oldest_overdue_seconds", **default)
        assert overdue is not None
        assert 0.1 <= overdue < 10

        server.stop()
        samples = scrape(collector)
        assert value(samples, "dueq_redis_up") == 0
        assert value(samples, "dueq_tasks_scheduled_total", **default) == 3

        server.start()
        assert value(scrape(collector), "dueq_redis_up") == 1
        namespace.client.delete(namespace.keys.plain("stats"))
        assert value(scrape(collector), "dueq_tasks_scheduled_total", **default) == 3
        namespace.store.schedule([NewTask("t9", "default", now, body)])
        assert value(scrape(collector), "dueq_tasks_scheduled_total", **default) == 4
        collector.close()
        namespace.close()
    finally:
        server.stop()
