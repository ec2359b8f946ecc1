"""While all workers sleep, one of them looks now and then. What nobody was woken for is found as soon as ever.

The safety net is the shortest with which workers sleep for long, and a lease is long, so that neither the overdue check
nor the auditor finds it first: they would wake a worker, which may be one that stands still.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import psutil
import pytest
from support.engine import Engine
from support.stopping import stopped
from support.waiting import wait_until

from dueq import strategies
from dueq.core.app.payload import encode_body
from dueq.core.client.connection import connect
from dueq.core.schema.keys import Keys
from dueq.core.schema.states import State
from dueq.core.worker.watch import LEAST_S

pytestmark = [pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(180)]

NET_S = round(LEAST_S)
LEASE_S = 5  # where one has to run out
STARTS_S = 1.0  # for the step that takes the task then, and for a busy machine
FLAGS = ("--safety-net", str(NET_S), "--hang-timeout", "0", "--audit-interval", "0")
KEYS = Keys("default")

Lose = Callable[[Any, str], None]


def written(client: Any, state: str) -> str:
    """A due record in this state; returns its id."""
    task_id, body = f"lost{time.monotonic_ns()}", encode_body("sample.nap", [0.0], {}, 1000).decode()
    now_us = time.time_ns() // 1000
    client.hset(KEYS.record(task_id), task_id, f"1|{state}|{now_us}|default|0|0|0|||||{body}")
    return task_id


def ready(client: Any) -> str:
    """A task that is ready; nobody is woken for it, and its queue does not count as busy."""
    task_id = written(client, State.SCHEDULED)
    client.lpush(KEYS.of("ready", "default"), task_id)
    return task_id


def put_aside(client: Any) -> str:
    """A task that was put aside, though the workers here know its name; nobody is woken for it."""
    task_id = written(client, State.UNCLAIMED)
    client.zadd(KEYS.of("unclaimed", "default:sample.nap"), {task_id: 1})
    client.zadd(KEYS.plain("aside"), {"default:sample.nap": 1})
    client.hset(KEYS.plain("meta"), "aside", "1")
    return task_id


def asleep(engine: Engine, client: Any, workers: int) -> bool:
    """Whether all workers, and the dispatcher, are blocked."""
    return int(client.info("clients")["blocked_clients"]) == workers + 1


def found(engine: Engine, task_id: str, since: float) -> float:
    """Seconds until a lost task had started."""
    wait_until(lambda: bool(engine.runs()[task_id].starts), 3 * NET_S, what="it is found")
    return time.monotonic() - since


@pytest.fixture
def client(engine: Engine) -> Iterator[Any]:
    client = connect(engine.url)
    yield client
    client.connection_pool.disconnect()


def _idle(
    engine: Engine, client: Any, workers: int, strategy: str = "lua", lease_s: int = 60
) -> subprocess.Popen[bytes]:
    flags = ("--lease", str(lease_s), *FLAGS)
    supervisor = engine.run("--workers", str(workers), "--strategy", strategy, *flags)
    wait_until(partial(asleep, engine, client, workers), 20, what="all sleep")
    return supervisor


@pytest.mark.parametrize("strategy", strategies.names())
@pytest.mark.parametrize("lose", [ready, put_aside])
def test_what_nobody_was_woken_for_is_found_within_the_safety_net(
    engine: Engine, sample: ModuleType, client: Any, strategy: str, lose: Callable[[Any], str]
) -> None:
    """Soon after all went to sleep, and after they have slept for long: the moment does not matter."""
    _idle(engine, client, 4, strategy)
    for pause in (0.5, NET_S * 0.9):
        time.sleep(pause)
        since = time.monotonic()
        assert found(engine, lose(client), since) <= NET_S + STARTS_S
        wait_until(partial(asleep, engine, client, 4), 20, what="all sleep again")


@pytest.mark.parametrize("left", [0, 1])
def test_it_is_found_if_the_worker_that_looks_stands_still(
    engine: Engine, sample: ModuleType, client: Any, left: int
) -> None:
    """All but one are stopped; that one is, or is not, the one that looks. The request of one that stands still takes
    the task as it ends, if that comes first: then a lease has to run out."""
    supervisor = _idle(engine, client, 2, lease_s=LEASE_S)
    time.sleep(NET_S)
    workers = engine.children(supervisor, "worker")
    with stopped([each for each in workers if each is not workers[left]]):
        since = time.monotonic()
        assert found(engine, ready(client), since) <= NET_S + LEASE_S + 2 * STARTS_S


def test_it_is_found_while_the_others_run_tasks(engine: Engine, sample: ModuleType, client: Any) -> None:
    """A worker that runs a task does not look, whatever it promised before."""
    _idle(engine, client, 3)
    for busy in range(1, 3):
        sample.nap.after(0)(NET_S * 4)
        wait_until(partial(asleep, engine, client, 3 - busy), 20, what="one more is busy")
        since = time.monotonic()
        assert found(engine, ready(client), since) <= NET_S + STARTS_S


def test_it_is_found_if_the_workers_that_slept_are_killed(engine: Engine, sample: ModuleType, client: Any) -> None:
    supervisor = _idle(engine, client, 2)
    for _ in range(2):
        for worker in engine.children(supervisor, "worker")[:1]:
            since = time.monotonic()
            worker.kill()
            assert found(engine, ready(client), since) <= NET_S + STARTS_S


def test_names_that_are_gone_are_written_again(engine: Engine, sample: ModuleType, client: Any) -> None:
    """Else a task that another application's worker puts aside would wake nobody."""
    _idle(engine, client, 2)
    meta = KEYS.plain("meta")

    def names() -> list[bytes]:
        return [name for name in client.hkeys(meta) if name.startswith(b"names:")]

    [field] = names()
    time.sleep(1)
    client.hdel(meta, field)
    wait_until(lambda: names() == [field], NET_S + STARTS_S, what="they are there again")


def test_a_redis_that_hangs_is_noticed_in_time(engine: Engine, sample: ModuleType, client: Any) -> None:
    """By every worker: each may have to go to another server. Before, a sleep ended after the net, or 5 s later."""
    _idle(engine, client, 3)
    server = psutil.Process(int(client.info()["process_id"]))
    time.sleep(1)
    with stopped([server]):
        since = time.monotonic()
        wait_until(
            lambda: sum("dueq.worker: Redis trouble" in line for line in engine.log.read_text().splitlines()) == 3,
            NET_S + 5 + STARTS_S,
            what="all workers have noticed",
        )
        print(f"noticed after {time.monotonic() - since:.1f} s")
