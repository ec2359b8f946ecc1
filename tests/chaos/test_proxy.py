"""The bad network: each fault hits what it should, and nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError

from dueq.chaos.proxy import Proxy, Trap
from dueq.core.connection import connect

_OTHER = """
import sys, time
from dueq.core.connection import connect
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
    proxy = Proxy(redis_url, tmp_path, random.Random(1))
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
