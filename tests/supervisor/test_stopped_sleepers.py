"""Workers that sleep have left requests in Redis, which take what they are woken for. If the workers cannot run it, the
requests end: as soon as a host's, or a worker's, sleep of half a minute ever ended, or sooner."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from support.engine import Engine
from support.stopping import stopped
from support.waiting import wait_until

from dueq.core.client.connection import connect
from dueq.core.config import Settings
from dueq.core.namespace import Namespace
from dueq.core.schema.bounds import FRESH_US
from dueq.core.schema.keys import Keys
from dueq.core.supervisor import stalled
from dueq.core.upkeep.engines import Process, supervisors

pytestmark = [pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(120)]

KEYS = Keys("default")
FRESH_S = FRESH_US / 1e6
ONCE_A_SECOND_S = 1.0  # a worker's signs of life
SOON_S = 5.0  # half a lease: that is what a task costs which a request takes that nobody hears


@pytest.fixture
def client(engine: Engine) -> Iterator[Any]:
    client = connect(engine.url)
    yield client
    client.connection_pool.disconnect()


def _asleep(client: Any, processes: int) -> bool:
    return int(client.info("clients")["blocked_clients"]) == processes


def _all_of(supervisor: subprocess.Popen[bytes]) -> list[psutil.Process]:
    parent = psutil.Process(supervisor.pid)
    return [parent, *parent.children(recursive=True)]


def _workers(engine: Engine) -> list[Process]:
    """As the registry has them."""
    namespace = Namespace.open(Settings(redis_url=engine.url))
    try:
        return [one for each in supervisors(namespace) for one in each.roles["worker"].processes]
    finally:
        namespace.close()


def _pids(engine: Engine) -> list[int]:
    return [worker.pid for worker in _workers(engine)]


def _commands(client: Any) -> int:
    return int(client.info("stats")["total_commands_processed"])


def _has_ended(engine: Engine, task_id: str) -> bool:
    return bool(engine.runs()[task_id].ends)


def _run_soon(engine: Engine, sample: ModuleType, count: int) -> None:
    """Each of so many tasks, one after the other, is run by the first worker that gets it."""
    for _ in range(count):
        since = time.monotonic()
        task_id = sample.nap.after(0)(0.0).id
        wait_until(partial(_has_ended, engine, task_id), 60, what="it has run")
        assert time.monotonic() - since <= SOON_S
        [start] = engine.runs()[task_id].starts
        assert start[3] == "1", "the first attempt"


def test_requests_of_a_host_that_stands_still_take_nothing(engine: Engine, sample: ModuleType, client: Any) -> None:
    """Neither sooner than its supervisor counts as silent, nor later. What is left wakes the next that waits."""
    first = engine.run("--workers", "4", "--dispatchers", "0")
    wait_until(partial(_asleep, client, 4), 20, what="the first sleep")
    second = engine.run("--workers", "2")
    wait_until(partial(_asleep, client, 4 + 3), 20, what="all sleep, those of the first host for longer")
    with stopped(_all_of(first)):
        time.sleep(FRESH_S + 0.5)
        _run_soon(engine, sample, 6)
    _run_soon(engine, sample, 6)
    for supervisor in (first, second):
        assert engine.total(supervisor, "dueq_duplicates_total") == 0
        assert engine.stop(supervisor) == 0


def test_a_supervisor_that_stands_still_makes_no_task_late(engine: Engine, sample: ModuleType, client: Any) -> None:
    """Its workers are there, and take what they are woken for by another step."""
    supervisor = engine.run("--workers", "2", "--metrics-port", "0")
    wait_until(partial(_asleep, client, 3), 20, what="all sleep")
    with stopped([psutil.Process(supervisor.pid)]):
        time.sleep(FRESH_S + 0.5)
        _run_soon(engine, sample, 6)
    assert engine.stop(supervisor) == 0


@pytest.mark.parametrize("at", [0, 1])
def test_the_request_of_a_worker_that_stands_still_is_withdrawn(
    engine: Engine, sample: ModuleType, client: Any, at: int
) -> None:
    supervisor = engine.run("--workers", "2", "--hang-timeout", "0")
    wait_until(partial(_asleep, client, 3), 20, what="all sleep")
    with stopped([engine.children(supervisor, "worker")[at]]):
        time.sleep(stalled._STILL_S + stalled._LOOK_S + ONCE_A_SECOND_S + 0.5)
        _run_soon(engine, sample, 6)
    _run_soon(engine, sample, 4)
    assert engine.stop(supervisor) == 0


def test_all_data_lost_while_all_sleep_makes_no_task_late(engine: Engine, sample: ModuleType, client: Any) -> None:
    supervisor = engine.run("--workers", "2")
    wait_until(partial(_asleep, client, 3), 20, what="all sleep")
    client.flushall()
    time.sleep(0.2)
    for _ in range(4):
        task_id = sample.nap.after(0)(0.0).id
        wait_until(partial(_has_ended, engine, task_id), 10, what="it has run")
        assert len(engine.runs()[task_id].starts) == 1
    assert engine.stop(supervisor) == 0


def test_a_killed_worker_whose_socket_lives_on_takes_nothing(engine: Engine, sample: ModuleType, client: Any) -> None:
    """Its request is still in Redis, and its supervisor is well."""
    supervisor = engine.run("--workers", "1")
    sample.fork_unseen.after(0)()
    wait_until(lambda: engine.ended() == 1, 20)
    child = psutil.Process(int(Path(f"{engine.ledger}.child").read_text()))
    try:
        wait_until(partial(_asleep, client, 2), 20, what="all sleep")
        wait_until(lambda: _workers(engine), 20, what="the supervisor has registered it")
        [worker] = _pids(engine)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: _pids(engine) not in ([], [worker]), 20, what="another is there")
        wait_until(partial(_asleep, client, 2), 20, what="all sleep again, and nobody else")
        _run_soon(engine, sample, 3)
    finally:
        child.kill()
    assert engine.stop(supervisor) == 0


def test_a_foreign_key_in_the_place_of_a_workers_own_wakeup_stops_nothing(
    engine: Engine, sample: ModuleType, client: Any
) -> None:
    supervisor = engine.run("--workers", "1")
    wait_until(partial(_asleep, client, 2), 20, what="all sleep")
    wait_until(lambda: _workers(engine), 20, what="the supervisor has registered it")
    [worker] = _workers(engine)
    client.set(KEYS.bell_of(worker.name), "foreign")
    _run_soon(engine, sample, 2)
    wait_until(partial(_asleep, client, 2), 20, what="all sleep again")
    before = _commands(client)
    time.sleep(5)
    assert _commands(client) - before <= 20
    _run_soon(engine, sample, 2)
    assert engine.stop(supervisor) == 0
