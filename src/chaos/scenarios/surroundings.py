"""Faults around the processes: of the network, and of the hosts' clocks."""

from __future__ import annotations

import os
from pathlib import Path

from ..proxy import Proxy
from ..stage import Stage
from .base import LOST_OWNER, Scenario

_PARTITION_S = 5.0
_DELAY_S = 0.05
_SKEW_S = 30

# Every Python process of a host imports this first: it shifts the clocks of that host alone.
_CLOCK_GOES_WRONG = """\
import os, time
_ahead_ns = int(os.environ["DUEQ_CHAOS_AHEAD_S"]) * 1_000_000_000
_time_ns = time.time_ns
time.time_ns = lambda: _time_ns() + _ahead_ns
time.time = lambda: time.time_ns() / 1e9
"""


def _network(stage: Stage) -> None:
    proxy = Proxy(stage.settings.redis_url or "", stage.directory, stage.seed)
    try:
        host = stage.host(url=proxy.url)
        stage.begin_naps()
        half = stage.size.duration / 2
        for turn, _ in enumerate(stage.every(min(0.3, stage.size.duration / 10))):
            if stage.elapsed() > half:
                break
            pid = proxy.cut(reply=bool(turn % 2))
            stage.mark(f"connection of {pid} cut in the middle of a {'reply' if turn % 2 else 'command'}")
        since = stage.elapsed()
        proxy.delay(_DELAY_S)
        stage.until(half * 1.4)
        proxy.delay(0)
        stage.mark(f"{_DELAY_S * 1000:.0f} ms delay", since)
        since = stage.elapsed()
        stage.wait_for(lambda: stage.busy_worker(host), 1.0)
        found = stage.busy_worker(host)
        victim = found[0] if found else host.children("worker")[0]
        proxy.partition(victim.pid, _PARTITION_S)
        stage.until(stage.elapsed() + _PARTITION_S)
        stage.mark(f"worker {victim.pid} cut off from Redis", since)
        stage.finish()
        stage.check("connections cut", "some", proxy.cuts, proxy.cuts > 0)
        stage.notes.append(f"late acks refused: {stage.total('dueq_duplicates_total', cause='stale_ack'):.0f}")
    finally:
        proxy.close()


def _clock(stage: Stage) -> None:
    hosts = {}
    for ahead in (_SKEW_S, -_SKEW_S):
        folder = stage.directory / f"clock{ahead}"
        folder.mkdir()
        Path(folder, "sitecustomize.py").write_text(_CLOCK_GOES_WRONG, encoding="utf-8")
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        environment = {"PYTHONPATH": path, "DUEQ_CHAOS_AHEAD_S": str(ahead)}
        hosts[ahead] = stage.host(workers=2, environment=environment)
    stage.begin_naps()
    stage.mark(f"{hosts[_SKEW_S].name} is {_SKEW_S} s ahead, {hosts[-_SKEW_S].name} {_SKEW_S} s behind")
    # if hosts go by their own clocks, the one behind may take a task that, by its clock, is not due for 30 s
    stage.finish(patience_s=0.0 if stage.server_time else _SKEW_S)
    if not stage.server_time:
        late = sorted(point.late_ms for point in stage.book.points(stage.base_us))
        stage.notes.append(
            f"this store has no scripts, so tasks go by the clocks of the hosts: {stage.book.early} "
            f"starts were early, by up to {max(0.0, -late[0]) / 1000:.1f} s"
        )
        return
    ran = {host.name: host.page.total("dueq_deliveries_total") for host in hosts.values()}
    stage.check("both hosts ran tasks", "yes", ran, all(ran.values()))
    for ahead, host in hosts.items():
        skew = host.page.total("dueq_clock_skew_seconds")
        ok = abs(skew + ahead) < 1
        stage.check(f"skew that {host.name} shows", f"{-ahead} s", f"{skew:.3f} s", ok)


NETWORK = Scenario(
    "network",
    "connections cut in the middle of commands and replies, 50 ms delay, a worker cut off for 5 s",
    "lost 0; every duplicate has a cause",
    _network,
    LOST_OWNER,
)
CLOCK = Scenario(
    "clock",
    "one host's clock is 30 s ahead, another's 30 s behind",
    "early 0 where the strategy's server has TIME; the skew metric shows it",
    _clock,
    LOST_OWNER,
    skews_clocks=True,
)
