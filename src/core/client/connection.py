"""The one place where clients of Redis are made.

Every client speaks RESP2 without a HELLO (servers before Redis 6 refuse it), and none sends a command twice:
redis-py re-sends by default, which repeats pushes, pops and scripts that the server had already executed.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from ..errors import (
    ConfigurationError,
)
from .addresses import options_of
from .counting import CONNECT_S, TIMEOUT_S, counting
from .redaction import redact
from .sentinel import SCHEMES, sentinel_pool

_SCHEMES = ("redis://", "rediss://", "unix://")
_UNESCAPED = re.compile(r"rediss?(?:\+sentinel)?://(?=[^@]*[/?#][^@]*@|[^@]*@[^?#]*@)")


def _pool(url: str, timeout: float) -> redis.ConnectionPool:
    if any(character.isspace() for character in url):
        raise ConfigurationError("the Redis address holds white space: write a space in a user or password as %20")
    if not url.startswith((*_SCHEMES, *SCHEMES)):
        raise ConfigurationError(
            f"{redact(url)!r} is not a Redis address: use redis://, rediss://, unix://, redis+sentinel:// or "
            f"rediss+sentinel://"
        )
    if _UNESCAPED.match(url):
        # otherwise such a password would be taken for a host name, and shown as one in errors
        raise ConfigurationError(
            f"{redact(url)!r}: write / as %2F, @ as %40, ? as %3F and # as %23 in user and password"
        )
    options: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "socket_timeout": timeout,
        "decode_responses": False,
    }
    if not url.startswith("unix://"):
        options |= {"socket_connect_timeout": min(timeout, CONNECT_S), "socket_keepalive": True}
    if url.startswith(SCHEMES):
        watched = sentinel_pool(url, options)
        watched.connection_class = counting(watched.connection_class)
        return watched
    options_of(url)
    try:
        pool = redis.ConnectionPool.from_url(url, **options)
    except ValueError as error:
        raise ConfigurationError(f"{redact(url)!r} cannot be used as a Redis address: {redact(str(error))}") from None
    path = urlsplit(url).path
    if not url.startswith("unix://") and not re.fullmatch(r"/?\d*", path):
        raise ConfigurationError(f"{redact(url)!r}: {path!r} is not a database number")
    pool.connection_class = counting(pool.connection_class)
    try:
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError) as error:
        raise ConfigurationError(
            f"{redact(url)!r} has an option, or a value of one, that redis-py refuses: {redact(str(error))}"
        ) from None
    return pool


def connect(url: str, *, timeout: float = TIMEOUT_S, plain: bool = False) -> redis.Redis:
    """A pooled, thread-safe client of the server at ``url``; nothing is sent until its first command.

    ``timeout`` (seconds) bounds each reply; the default exceeds the longest blocking command. A ``plain`` client has
    redis-py's own connections: measurements compare dueq's with them.
    Raises ConfigurationError if ``url`` is not a Redis address.
    """
    pool = _pool(url, timeout)
    if plain:
        pool.connection_class = pool.connection_class.__base__
    return redis.Redis(connection_pool=pool)


def server_version(client: redis.Redis) -> tuple[int, ...] | None:
    """The Redis version whose behaviour the server has (Valkey says which it is compatible with).

    None if the user may not ask (INFO is in the ACL category @dangerous).
    """
    try:
        # without a section: Redis 2.4 knows none; with a space, so that redis-py does not parse some 250 fields
        info: Any = client.execute_command("INFO ")  # type: ignore[no-untyped-call]
    except ResponseError:
        return None
    found = re.search(rb"^redis_version:([\d.]+)", info, re.MULTILINE)
    return tuple(int(part) for part in found[1].split(b".")[:3]) if found else (0,)
