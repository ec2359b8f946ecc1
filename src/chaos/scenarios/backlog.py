"""Faults while a backlog of short tasks is worked off: workers then take, start and settle many of them at once."""

from __future__ import annotations

import itertools

import psutil

from ...core.worker.outcomes import MOST_PUT_OFF, MOST_UNDER_WAY
from ..proxy import Proxy
from ..stage import LEASE_S, SLACK_S, Stage
from .base import LOST_OWNER, Scenario

_BETWEEN_S = 0.25


def _backlog(stage: Stage) -> None:
    proxy = Proxy(stage.settings.redis_url or "", stage.directory, stage.seed)
    try:
        # no watch over hung workers: the supervisor would kill the frozen worker before its lease is lost
        host = stage.host("--hang-timeout", 0, url=proxy.url)
        stage.begin_naps(longest_s=0.0, at_once=True)
        done = dict.fromkeys(("killed", "cut", "frozen"), 0)
        stage.until(0.0)
        for fault in itertools.cycle(("killed", "cut", "killed", "cut", "frozen")):
            if not stage.book.lost:
                break
            stage.until(stage.elapsed() + _BETWEEN_S)
            if worker := stage.any_worker(host):
                done[fault] += 1
                _strike(stage, proxy, worker, fault)
        stage.finish()
    finally:
        proxy.close()
    stage.check("faults", "some", ", ".join(f"{count} {fault}" for fault, count in done.items()), any(done.values()))
    # what was on its way over a connection that was cut may have ended, too
    most = done["killed"] * (MOST_PUT_OFF + 1) + done["cut"] * MOST_UNDER_WAY
    counted = stage.total("dueq_duplicates_total", cause="worker_lost")
    stage.check("tasks run again after kills", f"≤ {most}", f"{counted:.0f}", counted <= most)
    stage.notes.append(f"tasks run again, whatever the cause: {stage.book.extra_starts}")


def _strike(stage: Stage, proxy: Proxy, worker: psutil.Process, fault: str) -> None:
    """Let one fault happen, to ``worker`` unless it is one of the network."""
    if fault == "killed":
        stage.kill(worker, "worker")
    elif fault == "cut":
        pid = proxy.cut(reply=bool(proxy.cuts % 2))
        stage.mark(f"connection of {pid} cut in the middle of a command or reply")
    else:
        since = stage.elapsed()
        worker.suspend()
        stage.until(since + LEASE_S + SLACK_S / 5)
        worker.resume()
        stage.mark(f"SIGCONT worker {worker.pid}, stopped at any moment", since)


BACKLOG = Scenario(
    "backlog",
    "SIGKILL, SIGSTOP past the lease and cut connections, while workers settle and take many short tasks a step",
    f"lost 0; every duplicate has a cause; a kill has at most {MOST_PUT_OFF + 1} tasks run again",
    _backlog,
    LOST_OWNER,
    tasks=20_000,
)
