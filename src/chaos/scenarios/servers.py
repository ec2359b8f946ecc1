"""Redis itself in trouble: killed, failed over, forgetful, full, read-only or loading."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from redis.exceptions import ResponseError

from ...core.client.connection import connect
from ...core.client.embedded import EmbeddedServer
from ...core.clock import US, now_us
from ...core.errors import NotReplicated, ServerRefused, ServerUnavailable
from ..failover import Cluster
from ..stage import Stage
from .base import LOST_OWNER, Scenario

_SAFETY_NET_S = 2.0
_RECONNECT_S = 1.0  # the longest pause between two attempts to reach Redis
_MEMORY = "maxmemory"
_PADDING = 200
_UNEXPLAINED = "unexplained: "


def kill_redis(stage: Stage) -> None:
    """SIGKILL to the server. Returns once it is gone."""
    pid = stage.server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while stage.server.pid() is not None:
        time.sleep(0.005)


def next_start(stage: Stage, at_us: int) -> float | None:
    """Seconds from ``at_us`` until any task started; None if none did."""
    starts = [start.at_us for several in stage.book.by_task.values() for start in several if start.at_us >= at_us]
    return (min(starts) - at_us) / US if starts else None


def _redis_restart(stage: Stage) -> None:
    stage.host()
    stage.begin_naps()
    restarted = []
    for _ in stage.every(stage.size.duration / 3):
        since = stage.elapsed()
        kill_redis(stage)
        stage.until(stage.elapsed() + 0.3)
        stage.start_server()
        stage.mark("SIGKILL Redis, started again", since)
        restarted.append(now_us())
    stage.finish()
    pauses = [next_start(stage, at_us) for at_us in restarted]
    slowest = max((pause for pause in pauses if pause is not None), default=None)
    ok = None not in pauses and slowest is not None and slowest <= 5.0
    stage.check("work goes on after the restart", "≤ 5 s", f"{slowest:.2f} s" if slowest is not None else "never", ok)


def _redis_failover(stage: Stage) -> None:
    with Cluster(stage.directory) as cluster:
        stage.use(cluster.url)
        stage.host()
        stage.begin_naps(replicas=1)
        safe = set(stage.plan)
        stage.until(stage.size.duration * 0.4)
        since = stage.elapsed()
        try:
            cluster.hold_replica()
            rest = stage.add(max(5, stage.size.tasks // 10), first_s=stage.size.duration * 0.6)
            error = _error_of(lambda: stage.schedule(rest, replicas=1, replicas_within=0.1), NotReplicated)
            cluster.kill_primary()
        finally:
            cluster.free_replica()
        promoted_s = cluster.wait_promoted()
        promoted_us = now_us()
        stage.mark("primary killed while its replica received nothing, replica promoted", since)
        stage.finish()
    lost = set(stage.book.lost_ids())
    stage.check("confirmed by WAIT and lost", "0", len(lost & safe), not lost & safe)
    stage.check("scheduled while no replica received", "NotReplicated", error or "no error", _says(error))
    pause = next_start(stage, promoted_us)
    stage.check("work goes on", "yes", "never" if pause is None else f"after {pause:.2f} s", pause is not None)
    again = stage.book.duplicates()["unexplained"]
    stage.notes.append(f"run again without a cause, since their acks had not reached the replica: {again} starts")
    stage.notes.append(
        f"not confirmed by WAIT: {len(rest)}, of which {len(lost & set(rest))} were lost; promoted after "
        f"{promoted_s:.1f} s"
    )


def _redis_amnesia(stage: Stage) -> None:
    stage.host("--safety-net", _SAFETY_NET_S)
    stage.begin_naps()
    client = connect(stage.settings.redis_url or "")
    faults: list[tuple[str, Callable[[], object]]] = [
        ("SCRIPT FLUSH", client.script_flush),
        ("notify-keyspace-events reset", lambda: client.config_set("notify-keyspace-events", "")),
        ("CLIENT KILL of all", lambda: _kill_clients(stage)),
    ]
    for turn, _ in enumerate(stage.every(stage.size.duration / 7)):
        what, fault = faults[turn % len(faults)]
        fault()
        stage.mark(what)
    stage.finish()
    client.close()
    late = max((point.late_ms for point in stage.book.points(stage.base_us)), default=0.0) / 1000
    limit = stage.resolution_s + _SAFETY_NET_S + _RECONNECT_S
    stage.check(
        "latest start", f"≤ {limit:g} s late (the safety net and a reconnection)", f"{late:.2f} s", late <= limit
    )


def _kill_clients(stage: Stage) -> None:
    client: Any = connect(stage.settings.redis_url or "")
    for kind in ("normal", "pubsub"):
        client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    client.close()


def _full(stage: Stage) -> None:
    stage.host()
    stage.begin_naps()
    third = stage.size.duration / 3
    said = {}
    stage.until(third * 0.5)
    with _phase(stage, "maxmemory reached"):
        client: Any = connect(stage.settings.redis_url or "")
        client.config_set(_MEMORY, 1)
        said["maxmemory"] = _error_of(stage.extra, ServerRefused)
        stage.until(stage.elapsed() + min(1.0, third / 2))
        client.config_set(_MEMORY, 0)
    after = [stage.extra()]
    stage.until(third * 1.5)
    with _phase(stage, "read-only replica"):
        client.execute_command("REPLICAOF", "127.0.0.1", 1)
        said["read-only"] = _error_of(stage.extra, ServerRefused)
        stage.until(stage.elapsed() + min(1.0, third / 2))
        client.execute_command("REPLICAOF", "NO", "ONE")
        client.close()
    after.append(stage.extra())
    stage.until(third * 2.5)
    with _phase(stage, "killed, and loading its data"):
        said["loading"] = _load_slowly(stage)
    after.append(stage.extra())
    stage.finish()
    for what, text in said.items():
        stage.check(f"what producers get: {what}", f"an error that says {what}", text or "no error", _says(text, what))
    stage.check("scheduled again after each", "3, none lost", len(after), not set(after) & set(stage.book.lost_ids()))


@contextlib.contextmanager
def _phase(stage: Stage, what: str) -> Iterator[None]:
    since = stage.elapsed()
    try:
        yield
    finally:
        stage.mark(what, since)


def _load_slowly(stage: Stage) -> str:
    """Restart Redis so that it takes a while to load. Returns the error that a producer gets meanwhile."""
    # while it loads, Redis replies only between parts of a snapshot: so it needs a snapshot, with large enough keys
    padding = [f"padding{number}" for number in range(_PADDING)]
    client: Any = connect(stage.settings.redis_url or "")
    client.mset(dict.fromkeys(padding, "x" * 2048))
    client.config_set("aof-use-rdb-preamble", "yes")
    client.bgrewriteaof()
    while _rewriting(client.info("persistence")):
        time.sleep(0.01)
    client.close()
    kill_redis(stage)
    slowly = {"key-load-delay": "10000", "loading-process-events-interval-bytes": "1024", "aof-use-rdb-preamble": "yes"}
    again = EmbeddedServer(stage.server.directory, options={**stage.options, **slowly})
    starting = threading.Thread(target=again.start)
    starting.start()
    text = ""
    try:
        while starting.is_alive() and not text:
            with contextlib.suppress(ServerUnavailable):  # it does not listen yet
                text = _error_of(stage.extra, ServerRefused)
            time.sleep(0.005)
        client = connect(stage.settings.redis_url or "")
        client.config_set("key-load-delay", 0)  # one such error is enough: load the rest fast
    finally:
        starting.join()  # so that the server does not come up after everything was stopped
    client.delete(*padding)
    client.close()
    return text


def _rewriting(info: dict[str, Any]) -> bool:
    return bool(info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])


def _error_of(action: Callable[[], object], kind: type[Exception]) -> str:
    """The text of the error that ``action`` raises; empty if it raises none. Other kinds of errors are raised."""
    try:
        action()
    except kind as error:
        return str(error)
    except ResponseError as error:
        return f"{_UNEXPLAINED}{error}"
    return ""


def _says(error: str, what: str = "") -> bool:
    """Whether ``error`` is the text of one of dueq's own errors, and contains ``what``."""
    return bool(error) and not error.startswith(_UNEXPLAINED) and what in error


REDIS_RESTART = Scenario(
    "redis-restart",
    "SIGKILL to Redis (AOF always), and start it again",
    "lost 0, nothing restarted by hand, work goes on within 5 s",
    _redis_restart,
    LOST_OWNER,
    options={"appendfsync": "always"},
)
REDIS_FAILOVER = Scenario(
    "redis-failover",
    "the primary is killed while its replica lags, the replica is promoted, clients find it through Sentinel",
    "tasks confirmed by WAIT are not lost; the other losses are counted and reported",
    _redis_failover,
    LOST_OWNER,
    loses=True,
)
REDIS_AMNESIA = Scenario(
    "redis-amnesia",
    "SCRIPT FLUSH, notify flags reset, CLIENT KILL of all, in turn",
    "lost 0, lateness bound by the safety net",
    _redis_amnesia,
    LOST_OWNER,
)
FULL = Scenario(
    "full",
    "maxmemory reached, read-only, loading",
    "producers get clear errors; no acknowledged task is lost; work goes on afterwards",
    _full,
    LOST_OWNER,
)
