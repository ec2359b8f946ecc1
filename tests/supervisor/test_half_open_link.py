"""A link that is dead without a word is noticed by every sleeping worker, within the safety net and 5 s, as ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.engine import Engine
from support.far import Far, far
from support.servers import Server, all_servers
from support.waiting import wait_until

from dueq.core.client.connection import connect

pytestmark = [pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(180)]

NOTICED_S = 30 + 5
REQUESTS_END_S = NOTICED_S + 3
WORKERS = 2


@pytest.fixture(params=["redis-8.2.3", "redis-5.0.6"])
def server(request: pytest.FixtureRequest) -> Server:
    """One where workers sleep long, and one where they do not."""
    found = next((each for each in all_servers() if each.name == request.param), None)
    if not isinstance(found, Server):
        pytest.skip(f"no {request.param}")
    return found


@pytest.fixture
def link(server: Server, tmp_path: Path) -> Iterator[Far]:
    (tmp_path / "far").mkdir()
    with far(server, tmp_path / "far") as link:
        yield link


@pytest.fixture
def client(link: Far) -> Iterator[Any]:
    client = connect(link.url)
    yield client
    client.connection_pool.disconnect()


def blocked(client: Any, pids: set[int]) -> dict[int, int]:
    """The local ports of the connections on which processes sleep, by process."""
    sleeping = _ports_of_sleepers(client)
    ports = {pid: {end.laddr.port for end in psutil.Process(pid).net_connections("tcp")} for pid in pids}
    return {pid: next(iter(own & sleeping)) for pid, own in ports.items() if own & sleeping}


def test_each_worker_finds_another_way_to_redis(link: Far, client: Any, tmp_path: Path) -> None:
    """The connections on which workers sleep break, one after the other; all others go on. So none can tell another."""
    engine = Engine(tmp_path, url=link.url)
    try:
        supervisor = engine.run("--workers", str(WORKERS))
        workers = {each.pid for each in engine.children(supervisor, "worker")}
        wait_until(lambda: blocked(client, workers).keys() == workers, 20, what="all sleep")
        time.sleep(2)
        dead = blocked(client, workers)
        for port in dead.values():
            link.lose_packets_of(port)
        since = time.monotonic()
        wait_until(partial(_are_left, workers, set(dead.values())), NOTICED_S + 2, what="all have left those links")
        print(f"left after {time.monotonic() - since:.1f} s")
        # nor do the requests wait on, which would take what they are woken for
        wait_until(lambda: not _ports_of_sleepers(client) & set(dead.values()), 1, what="the requests have ended")
        assert time.monotonic() - since <= REQUESTS_END_S
        wait_until(lambda: blocked(client, workers).keys() == workers, 5, what="all sleep again")
        assert engine.stop(supervisor) == 0
    finally:
        engine.close()


def _ports_of_sleepers(client: Any) -> set[int]:
    return {int(one["addr"].rpartition(":")[2]) for one in client.client_list() if "b" in one["flags"] and one["addr"]}


def _are_left(workers: set[int], ports: set[int]) -> bool:
    ours = {end.laddr.port for pid in workers for end in psutil.Process(pid).net_connections("tcp")}
    return not ours & ports
