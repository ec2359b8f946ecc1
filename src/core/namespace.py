"""One namespace on one server: its client, key names, strategy and store, put together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import redis

from .. import strategies
from ..strategies.base import ScriptedStrategy, Strategy
from .config import Settings
from .connection import connect, explained
from .embedded import EmbeddedServer, default_directory
from .errors import ConfigurationError
from .keys import Keys
from .store.base import Store
from .store.scripted import ScriptedStore, mismatch


class Namespace:
    """What a producer, worker, dispatcher or command needs to reach a namespace."""

    def __init__(self, settings: Settings, client: redis.Redis, strategy: type[Strategy]) -> None:
        self.settings, self.client = settings, client
        self.keys = Keys(settings.namespace)
        self.strategy = strategy(client, self.keys)
        self.store = _store(client, self.keys, self.strategy)

    @classmethod
    def open(cls, settings: Settings, *, timeout: float | None = None) -> Namespace:
        """Connect, starting the embedded server if no address is given, and settle which strategy it is.

        Raises StrategyMismatch if the namespace is kept by another strategy than ``settings`` asks for,
        ServerUnavailable or ServerRefused if Redis does not answer.
        """
        settings = resolve(settings)
        assert settings.redis_url is not None
        client = connect(settings.redis_url) if timeout is None else connect(settings.redis_url, timeout=timeout)
        with explained(settings.redis_url):
            raw: Any = client.hget(Keys(settings.namespace).plain("meta"), "strategy")
        kept_by = raw.decode() if raw else None
        if settings.strategy and kept_by and settings.strategy != kept_by:
            raise mismatch(settings.namespace, kept_by, settings.strategy)
        chosen = settings.strategy or kept_by or strategies.DEFAULT
        return cls(replace(settings, strategy=chosen), client, strategies.find(chosen))

    def claim(self) -> None:
        """Record that this namespace is kept by this strategy. Raises StrategyMismatch if another was faster."""
        meta, name = self.keys.plain("meta"), self.strategy.name
        if not self.client.hsetnx(meta, "strategy", name):
            raw: Any = self.client.hget(meta, "strategy")
            kept_by = (raw or b"").decode()
            if kept_by != name:
                raise mismatch(self.keys.namespace, kept_by, name)

    def close(self) -> None:
        """Close every connection."""
        self.strategy.close()
        self.client.connection_pool.disconnect()


def resolve(settings: Settings) -> Settings:
    """``settings`` with an address: the embedded server's, started if need be, if none is given."""
    if settings.redis_url:
        return settings
    return replace(settings, redis_url=EmbeddedServer(default_directory()).start())


def _store(client: redis.Redis, keys: Keys, strategy: Strategy) -> Store:
    if isinstance(strategy, ScriptedStrategy):
        return ScriptedStore(client, keys, strategy.scripts, strategy.name)
    raise ConfigurationError(f"strategy {strategy.name!r} must derive from ScriptedStrategy")
