"""The bad network: each fault hits what it should, and nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError
from support.waiting import wait_until

from dueq import Dueq, strategies
from dueq.admin.housekeeping import purge
from dueq.chaos.proxy import Proxy, Trap
from dueq.chaos.scenarios.processes import _TAKES, took_a_batch
from dueq.core.client.connection import connect
from dueq.core.config import Settings
from dueq.core.namespace import Namespace

_OTHER = """
import sys, time
from dueq.core.client.connection import connect
client = connect(sys.argv[1])
client.ping()
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
client.incr("other")
print(time.monotonic() - began, flush=True)
"""


@pytest.fixture
def proxy(redis_url: str, tmp_path: Path) -> Iterator[Proxy]:
    proxy = Proxy(redis_url, tmp_path, "1")
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: Proxy, redis_url: str) -> Iterator[redis.Redis]:
    client = connect(proxy.url, timeout=10)
    client.delete("counter", "other", "long")
    yield client
    direct = connect(redis_url)
    direct.delete("counter", "other", "long")
    direct.close()
    client.close()


def test_it_passes_on_what_is_said(client: redis.Redis) -> None:
    client.set("long", "x" * 1_000_000)
    assert client.get("long") == b"x" * 1_000_000


def test_a_cut_request_is_not_done(proxy: Proxy, client: redis.Redis) -> None:
    client.incr("counter")
    assert proxy.cut(reply=False) == os.getpid()
    with pytest.raises(ConnectionError):
        client.incr("counter")
    assert client.get("counter") == b"1"
    assert proxy.cuts == 1


def test_a_cut_reply_is_of_a_request_that_was_done(proxy: Proxy, client: redis.Redis) -> None:
    client.incr("counter")
    proxy.cut(reply=True)
    with pytest.raises(ConnectionError):
        client.incr("counter")
    assert client.get("counter") == b"2"


def test_delay(proxy: Proxy, client: redis.Redis) -> None:
    client.ping()
    proxy.delay(0.05)
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 0.05


def test_a_partition_hits_one_process(proxy: Proxy, client: redis.Redis) -> None:
    command = [sys.executable, "-c", _OTHER, proxy.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        proxy.partition(other.pid, 1.0)
        told, _ = other.communicate("go\n", timeout=30)
        client.ping()
    assert float(told) >= 0.5
    assert client.get("other") == b"1"


def test_a_partition_holds_up_and_then_lets_pass(proxy: Proxy, client: redis.Redis) -> None:
    client.ping()
    proxy.partition(os.getpid(), 0.3)
    began = time.monotonic()
    client.incr("counter")
    assert time.monotonic() - began >= 0.25
    assert client.get("counter") == b"1"


def test_a_trap_springs_once_the_command_is_done(proxy: Proxy, client: redis.Redis, redis_url: str) -> None:
    direct = connect(redis_url)
    seen: list[object] = []
    client.ping()
    proxy.trap(os.getpid(), Trap((b"INCR", b"INCRBY"), lambda: seen.append(direct.get("counter"))))
    client.set("long", "no trap for this one")
    assert seen == []
    with pytest.raises(ConnectionError):
        client.incr("counter")
    assert seen == [b"1"]
    assert client.incr("counter") == 2
    direct.close()


@pytest.mark.parametrize("strategy", strategies.names())
def test_a_trap_for_a_batch_waits_for_one(proxy: Proxy, redis_url: str, strategy: str) -> None:
    namespace = f"trap-{strategy}"
    direct = Namespace.open(Settings(redis_url, namespace, strategy))
    through = Namespace.open(Settings(proxy.url, namespace, strategy))
    sprung: list[int] = []
    app = Dueq(redis_url, namespace=namespace, strategy=strategy)
    try:
        app.schedule_task(time.time() + 3600, "later")
        proxy.trap(os.getpid(), Trap(_TAKES, lambda: sprung.append(1), took_a_batch))
        for _ in range(3):
            assert through.strategy.dispatch(10).moved == []
        assert sprung == []
        app.schedule_task(time.time() - 5, "now")
        with pytest.raises(ConnectionError):
            wait_until(lambda: through.strategy.dispatch(10).moved, timeout=5)  # buckets: up to a second
        assert sprung == [1]
    finally:
        through.close()
        purge(direct)
        direct.close()


def test_the_same_seed_cuts_the_same_connections(redis_url: str, tmp_path: Path) -> None:
    def cut(directory: Path) -> list[int]:
        directory.mkdir()
        proxy = Proxy(redis_url, directory, "1")
        clients = [connect(proxy.url, timeout=10) for _ in range(12)]
        try:
            for client in clients:
                client.ping()
            for _ in range(4):
                proxy.cut(reply=False)
            cut = []
            for number, client in enumerate(clients):
                before = proxy.cuts
                with contextlib.suppress(ConnectionError):
                    client.ping()
                if proxy.cuts > before:
                    cut.append(number)
            return cut
        finally:
            for client in clients:
                client.close()
            proxy.close()

    first = cut(tmp_path / "a")
    assert first
    assert [cut(tmp_path / name) for name in "bc"] == [first, first]
