"""A log is scheduled far enough ahead, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from dueq.core.app.application import Dueq
from dueq.core.client.connection import connect
from dueq.core.clock import US, now_us
from dueq.core.config import Settings
from dueq.harness.job_app import job
from dueq.replay import head_start

MANY = 20_000


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = connect(redis_url)
    client.flushall()
    yield client
    client.flushall()
    client.connection_pool.disconnect()


@pytest.mark.alone
def test_many_jobs_take_less_than_their_head_start(redis_url: str, client: redis.Redis) -> None:
    settings = Settings(redis_url, "log", "lua")
    seconds, began = head_start.seconds(settings, MANY), time.monotonic()
    assert client.dbsize() == 0, "what was measured is gone"
    due_us = now_us() + 3600 * US
    calls = [job.call_at(due_us / US)(due_us, 0) for _ in range(MANY)]
    Dueq(redis_url, namespace="log", strategy="lua").schedule_many(calls)
    assert time.monotonic() - began < seconds


def test_it_grows_with_the_log(redis_url: str, client: redis.Redis) -> None:
    """At a million a second, 188,000 jobs would still take a fifth of one."""
    settings = Settings(redis_url, "log", "lua")
    assert head_start.seconds(settings, 188_041) > 2 * head_start.seconds(settings, 1000)
