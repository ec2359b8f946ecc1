"""What an address may contain, and the error for anything else."""

from __future__ import annotations

from typing import Any

import pytest

from dueq.core.client.connection import connect
from dueq.core.errors import ConfigurationError

HOSTS = ["redis://h:1/0", "unix:///tmp/s", "redis+sentinel://h/shop"]


@pytest.mark.parametrize("url", HOSTS)
@pytest.mark.parametrize(
    "option",
    ["protocol=3", "retry=1", "socket_timeout=1", "socket_connect_timeout=1", "decode_responses=true", "encoding=x",
     "retry_on_timeout=1", "health_check_interval=1", "timeout=1", "driver_info=x", "single_connection_client=1"],
)  # fmt: skip
def test_what_dueq_sees_to_itself_is_refused(url: str, option: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{option.partition('=')[0]}, which dueq sets itself"):
        connect(f"{url}?{option}")


@pytest.mark.parametrize("url", [*HOSTS, "rediss://h", "rediss+sentinel://h/shop"])
@pytest.mark.parametrize("option", ["max_connections=1", "max_connections=15", "nosuch=s3cret", "db=x", "ssl_nosuch=1"])
def test_what_cannot_work_is_refused(url: str, option: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(f"{url}?{option}")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["redis://h?ssl_certfile=x", "rediss://h?ssl_cert_reqs=nosuch", "rediss://h?ssl_min_version=x", "redisss://h",
     "rediss+sentinel://h", "redis+sentinel://h/shop?ssl_certfile=x",
     "rediss+sentinel://h/shop?ssl_cert_reqs=nosuch"],
)  # fmt: skip
def test_tls_options_that_cannot_work_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        connect(url)


@pytest.mark.parametrize("url", HOSTS)
def test_what_is_honoured(url: str) -> None:
    made = connect(f"{url}?max_connections=16&client_name=shop").connection_pool
    assert made.max_connections == 16
    assert made.connection_kwargs["client_name"] == "shop"
    assert connect("redis://h/?db=3&username=u&password=p").connection_pool.connection_kwargs["db"] == 3


def test_tls_options_go_to_redis_and_sentinels_alike() -> None:
    pool: Any = connect("rediss+sentinel://u:p@h/shop?ssl_ca_certs=/ca&ssl_check_hostname=no").connection_pool
    [asked] = [sentinel.connection_pool for sentinel in pool.sentinel_manager.sentinels]
    for made in (pool, asked):
        assert "SSL" in "".join(kind.__name__ for kind in made.connection_class.__mro__)
        assert (made.connection_kwargs["ssl_ca_certs"], made.connection_kwargs["ssl_check_hostname"]) == ("/ca", False)
