"""Addresses that name a service watched by Redis Sentinel: each connection goes to the server that is primary then."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from ..errors import ConfigurationError
from .addresses import options_of
from .tls import secured

_TLS = "rediss+sentinel://"
SCHEMES = ("redis+sentinel://", _TLS)
_OWN_LOGIN = ("sentinel_username", "sentinel_password")
_PORT = 26379
_ALL_S = 3.0  # for all Sentinels together to say who is primary

_Base: Any = Sentinel  # redis-py leaves these untyped
_Pool: Any = SentinelConnectionPool


class _Sentinels(_Base):  # type: ignore[misc]
    """Sentinels whose errors do not show how to log in to them."""

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)
        except MasterNotFoundError:
            raise MasterNotFoundError(
                f"no Sentinel that answers knows a primary of {service_name!r}: check the addresses, the Sentinels' "
                f"own login, and that enough of them run"
            ) from None


def sentinel_pool(url: str, options: dict[str, Any]) -> SentinelConnectionPool:
    """The pool for ``redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/database]``.

    User and password are those of Redis; the Sentinels' own are the options ``sentinel_username`` and
    ``sentinel_password``. With ``rediss+sentinel://`` the connections to Redis and to the Sentinels use TLS, with the
    same ``ssl_…`` options. Raises ConfigurationError, whose text holds no password.
    """
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.lstrip("/").partition("/")
    if not service or not hosts or not (database or "0").isdigit():
        raise ConfigurationError(
            f"a Sentinel address is {parts.scheme}://host[:port][,host[:port]...]/service[/database]"
        )
    given = options_of(url, also=_OWN_LOGIN)
    common = {name: value for name, value in given.items() if name not in _OWN_LOGIN}
    user, _, password = credentials.partition(":")
    login = {"username": unquote(user) or None, "password": unquote(password) or None}
    own = {name.removeprefix("sentinel_"): given[name] for name in _OWN_LOGIN if name in given}
    security = {name: value for name, value in common.items() if name.startswith("ssl_")}
    if url.startswith(_TLS):
        security["ssl"] = True
    names = hosts.split(",")
    # one after the other: all of them together may take no longer than one reply of Redis
    patience = min(float(options.get("socket_timeout") or _ALL_S), _ALL_S) / len(names)
    times = {"socket_timeout": patience, "socket_connect_timeout": patience}
    sentinels = _Sentinels([_address(name) for name in names], sentinel_kwargs={**options, **times, **security, **own})
    if url.startswith(_TLS):
        for each in sentinels.sentinels:
            each.connection_pool.connection_class = secured(each.connection_pool.connection_class)
    kind = SentinelManagedSSLConnection if url.startswith(_TLS) else SentinelManagedConnection
    made = {**options, **login, "db": int(database or 0), **common, "connection_class": kind}
    pool: SentinelConnectionPool = _Pool(service, sentinels, **made)
    return pool


def _address(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):  # no port, or an IPv6 address without one
        return host.strip("[]"), _PORT
    if not port.isdigit():
        raise ConfigurationError(f"a Sentinel's port must be a number, not {port!r}")
    return name.strip("[]"), int(port)
