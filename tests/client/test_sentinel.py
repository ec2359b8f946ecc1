"""Addresses of services that Sentinel watches. (A real failover: tests/chaos, redis-failover.)"""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError

from dueq.__main__ import title
from dueq.core.client.connection import connect
from dueq.core.client.redaction import redact
from dueq.core.client.sentinel import sentinel_pool
from dueq.core.errors import ConfigurationError

URL = "redis+sentinel://me:s%40cret@a:1,b,[::1]:3/shop/2?sentinel_username=you&sentinel_password=hush"


def test_an_address_is_read() -> None:
    pool = sentinel_pool(URL, {"protocol": 2})
    assert pool.service_name == "shop"
    made = pool.connection_kwargs
    assert (made["username"], made["password"], made["db"], made["protocol"]) == ("me", "s@cret", 2, 2)
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in asked] == [("a", 1), ("b", 26379), ("::1", 3)]
    assert {(each["username"], each["password"], each["protocol"]) for each in asked} == {("you", "hush", 2)}


def test_the_least_that_is_needed() -> None:
    pool = sentinel_pool("redis+sentinel://localhost/shop", {})
    made = pool.connection_kwargs
    assert (made["username"], made["password"], made["db"]) == (None, None, 0)


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://", "redis+sentinel://a", "redis+sentinel://a:1/", "redis+sentinel://a:x/shop",
     "redis+sentinel://a/shop/two", "redis+sentinel://a/shop?timeout=3", "redis+sentinel:///shop"],
)  # fmt: skip
def test_what_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        connect(url)


def test_no_password_is_shown() -> None:
    for shown in (redact(f"cannot reach {URL}: no"), title(["status", "--redis-url", URL])):
        assert "s%40cret" not in shown
        assert "hush" not in shown
        assert "shop/2" in shown


def test_no_sentinel_is_no_redis() -> None:
    client = connect("redis+sentinel://127.0.0.1:1/shop", timeout=1)
    with pytest.raises(ConnectionError):
        client.ping()
