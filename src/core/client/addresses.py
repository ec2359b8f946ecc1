"""The options that an address of Redis may have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from redis.connection import SSLConnection, parse_url
from redis.exceptions import RedisError

from ..errors import ConfigurationError

LEAST_CONNECTIONS = 16
"""``max_connections`` must not be less: each process of dueq has several connections open at once."""

_COMMON = {"db", "username", "password", "client_name", "max_connections", "socket_keepalive"}
_OF_TLS = "ssl_"
_OWN = {
    *("protocol", "retry", "retry_on_timeout", "retry_on_error", "socket_timeout", "socket_connect_timeout", "timeout"),
    *("socket_read_size", "socket_type", "health_check_interval", "decode_responses", "encoding", "encoding_errors"),
    *("driver_info", "lib_name", "lib_version", "legacy_responses", "connection_class", "parser_class", "host", "port"),
    *("path", "single_connection_client", "connection_pool", "redis_connect_func", "command_packer"),
}
"""Options of redis-py that would undo what dueq relies on."""


def options_of(url: str, *, also: Iterable[str] = ()) -> dict[str, Any]:
    """The options in the query of ``url``, each in its type; ``also`` are names that are allowed beside the usual ones.

    Raises ConfigurationError, whose text holds no value, for an option that dueq sets itself, or that does not exist.
    """
    query = urlsplit(url).query
    try:
        found: dict[str, Any] = parse_url(f"unix://?{query}")  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ConfigurationError(f"the Redis address cannot be read: {error}") from None
    del found["connection_class"]  # of the unix:// above
    common, tls = _COMMON | {*also}, url.startswith("rediss")
    for name in sorted(found):
        if name in _OWN:
            raise ConfigurationError(f"the Redis address sets {name}, which dueq sets itself: leave it out")
        if name.startswith(_OF_TLS) and not tls:
            raise ConfigurationError(f"the Redis address sets {name}, which is for TLS: write rediss:// (with two s)")
        if name not in common and not name.startswith(_OF_TLS):
            raise ConfigurationError(f"the Redis address sets {name}, an option that does not exist")
    if tls:
        try:
            SSLConnection(**{name: value for name, value in found.items() if name.startswith(_OF_TLS)})
        except (TypeError, ValueError, RedisError) as error:
            raise ConfigurationError(f"the Redis address has a wrong option for TLS: {error}") from None
    if found.get("max_connections", LEAST_CONNECTIONS) < LEAST_CONNECTIONS:
        raise ConfigurationError(
            f"the Redis address sets max_connections below {LEAST_CONNECTIONS}: a process of dueq has several open at "
            f"once; leave it out, or set it to {LEAST_CONNECTIONS} or more"
        )
    return found
