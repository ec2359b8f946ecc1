"""With ten thousand queues, ten of them busy, status, metrics and probes cost little."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dueq.core.client.embedded import EmbeddedServer
from dueq.core.config import Settings
from dueq.core.namespace import Namespace
from dueq.core.store.strategy import Moved
from dueq.core.store.values import NewTask
from dueq.core.telemetry.collector import Collector
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import DispatcherTelemetry

pytestmark = pytest.mark.alone

MANY = 10_000
BUSY = 10
PAGE_BYTES = 300_000


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    server = EmbeddedServer(tmp_path_factory.mktemp("redis"))
    space = Namespace.open(Settings(redis_url=server.start(), namespace="many"))
    space.store.schedule(
        [NewTask(f"t{number}", f"q{number}", 3600_000_000, b'["f",[]]', True) for number in range(MANY)]
    )
    space.store.schedule([NewTask(f"b{number}", f"q{number % BUSY}", 0, b'["f",[]]', True) for number in range(1000)])
    while space.strategy.dispatch(100).next_in == 0:
        pass
    yield space
    space.close()
    server.stop()


def _page(collector: Collector) -> tuple[bytes, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    began = time.monotonic()
    return generate_latest(registry), time.monotonic() - began


@pytest.fixture
def collector(space: Namespace) -> Iterator[Collector]:
    queues = [f"q{number}" for number in range(MANY)]
    began = time.monotonic()
    collector = Collector(space.settings, "lua", queues, {f"shop.task{number}": f"q{number}" for number in range(MANY)})
    assert time.monotonic() - began < 5, "it was a minute, for every task in every queue"
    yield collector
    collector.close()


def test_the_page_is_small_and_says_all(collector: Collector) -> None:
    collector.redis_is_up()
    page, seconds = _page(collector)
    print(f"a page of {MANY:,} queues: {len(page):,} bytes in {seconds:.2f} s")
    text = page.decode()
    assert len(page) < PAGE_BYTES
    assert "dueq_redis_up{" in text
    gauges = [line for line in text.splitlines() if line.startswith("dueq_tasks{")]
    assert sum(float(line.split()[-1]) for line in gauges) == MANY + 1000
    assert len({line.split('queue="')[1].split('"')[0] for line in gauges}) == 101
    assert any('queue="q0"' in line and 'state="ready"' in line and line.endswith(" 100.0") for line in gauges)
    scheduled = [line for line in text.splitlines() if line.startswith("dueq_tasks_scheduled_total{")]
    assert sum(float(line.split()[-1]) for line in scheduled) == MANY + 1000
    assert len(scheduled) == 101
    assert seconds < 5


def test_whether_redis_answers_does_not_ask_what_grows(collector: Collector, space: Namespace) -> None:
    assert collector.redis_is_up()
    space.client.config_resetstat()
    assert collector.redis_is_up()
    sent = space.client.info("commandstats")
    assert set(sent) <= {"cmdstat_ping", "cmdstat_info", "cmdstat_config|resetstat"}


def test_a_process_counts_everything_in_a_page_of_bounded_size(collector: Collector) -> None:
    counters = Counters()
    telemetry = DispatcherTelemetry(counters, "dispatcher", "lua", queues=[f"q{number}" for number in range(100)])
    telemetry.moved([Moved(f"q{number}", 0.001, "t") for number in reversed(range(MANY))], 0)
    assert counters.overflowed == 0
    collector.adopt(counters, "dispatcher")
    page, _ = _page(collector)
    counts = [
        line
        for line in page.decode().splitlines()
        if line.startswith("dueq_task_lateness_seconds_count{") and 'stage="ready"' in line
    ]
    assert sum(float(line.split()[-1]) for line in counts) == MANY
    assert len(counts) <= 101


def test_depths_cost_a_trip_a_thousand_queues(space: Namespace) -> None:
    queues = space.store.queues()
    began = time.monotonic()
    depths = space.store.depths(queues)
    census = space.strategy.census(queues)
    seconds = time.monotonic() - began
    print(f"depths and census of {len(queues):,} queues: {seconds:.2f} s")
    assert sum(depth.ready for depth in depths.values()) == 1000
    assert sum(one.scheduled for one in census) == MANY
    assert seconds < 3
    one_by_one = time.monotonic()
    assert all(space.store.depth(queue) == depths[queue] for queue in queues[:200])
    assert (time.monotonic() - one_by_one) * MANY / 200 > seconds, "a trip for each"
