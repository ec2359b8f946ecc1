"""Addresses that name a service watched by Redis Sentinel: each connection goes to whoever is primary then."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from .errors import ConfigurationError

SCHEME = "redis+sentinel://"
_PORT = 26379

_Sentinel: Any = Sentinel  # redis-py leaves these untyped
_Pool: Any = SentinelConnectionPool


def sentinel_pool(url: str, options: dict[str, Any]) -> SentinelConnectionPool:
    """The pool for ``redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/database]``.

    User and password are those of Redis; the Sentinels' own are the options ``sentinel_username`` and
    ``sentinel_password``. Raises ConfigurationError, whose text does not hold them.
    """
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.lstrip("/").partition("/")
    asked = dict(parse_qsl(parts.query))
    unknown = sorted(asked.keys() - {"sentinel_username", "sentinel_password"})
    if unknown or not service or not hosts or not (database or "0").isdigit():
        raise ConfigurationError(
            f"a Sentinel address is {SCHEME}host[:port][,host[:port]...]/service[/database]"
            + (f"; the option {', '.join(unknown)} is not known" if unknown else "")
        )
    user, _, password = credentials.partition(":")
    login = {"username": unquote(user) or None, "password": unquote(password) or None}
    own = {name.removeprefix("sentinel_"): value for name, value in asked.items()}
    sentinels = _Sentinel([_address(host) for host in hosts.split(",")], sentinel_kwargs={**options, **own})
    made = {**options, **login, "db": int(database or 0), "connection_class": SentinelManagedConnection}
    pool: SentinelConnectionPool = _Pool(service, sentinels, **made)
    return pool


def _address(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):  # no port, or an IPv6 address without one
        return host.strip("[]"), _PORT
    if not port.isdigit():
        raise ConfigurationError(f"a Sentinel's port must be a number, not {port!r}")
    return name.strip("[]"), int(port)
