"""One namespace on one server: its client, key names, strategy and store, put together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import redis

from .. import strategies
from ..strategies.base import ScriptedStrategy, Strategy, TransactionalStrategy
from . import keeping
from .clock import Clock, HostClock, RedisClock
from .config import Settings
from .connection import connect, explained
from .embedded import EmbeddedServer, default_directory
from .errors import ConfigurationError
from .keys import Keys, unique_name
from .store.base import Store
from .store.scripted import ScriptedStore
from .store.transactional import TransactionalStore


class Namespace:
    """What a producer, worker, dispatcher or command needs to reach a namespace."""

    def __init__(
        self, settings: Settings, client: redis.Redis, strategy: type[Strategy], owner: str, clock: Clock | None
    ) -> None:
        self.settings, self.client = settings, client
        self.keys = Keys(settings.namespace)
        self.strategy, self.store, self.clock = _built(strategy, client, self.keys, owner, clock)

    @classmethod
    def open(
        cls, settings: Settings, *, timeout: float | None = None, owner: str | None = None, clock: Clock | None = None
    ) -> Namespace:
        """Connect, starting the embedded server if no address is given, and settle which strategy it is.

        ``owner`` is the unique name of the process, which whoever sees it die knows, too (see ``Strategy.recover``).
        ``clock`` is the time to go by instead of the strategy's own choice, for tests.
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
            raise keeping.mismatch(settings.namespace, kept_by, settings.strategy)
        chosen = settings.strategy or kept_by or strategies.DEFAULT
        strategy = strategies.find(chosen)
        return cls(replace(settings, strategy=chosen), client, strategy, owner or unique_name("process"), clock)

    def claim(self) -> None:
        """Record that this namespace is kept by this strategy, before its tasks are run.

        Raises StrategyMismatch if another was faster, NamespaceMigrating if a migration to this one is not over.
        """
        meta, name = self.keys.plain("meta"), self.strategy.name
        self.client.hsetnx(meta, "strategy", name)
        reply: Any = self.client.hmget(meta, "strategy", "from")
        keeping.require(self.keys, name, reply, settled=True)

    def under(self, strategy: str) -> Namespace:
        """The same namespace, over the same connections, as seen by the strategy of this name."""
        settings = replace(self.settings, strategy=strategy)
        return Namespace(settings, self.client, strategies.find(strategy), self.strategy.owner, None)

    def close(self) -> None:
        """Close every connection."""
        self.strategy.close()
        self.client.connection_pool.disconnect()


def resolve(settings: Settings) -> Settings:
    """``settings`` with an address: the embedded server's, started if need be, if none is given."""
    if settings.redis_url:
        return settings
    return replace(settings, redis_url=EmbeddedServer(default_directory()).start())


def _built(
    strategy: type[Strategy], client: redis.Redis, keys: Keys, owner: str, clock: Clock | None
) -> tuple[Strategy, Store, Clock]:
    """The strategy, the store that its kind of index needs, and the clock that both go by."""
    if issubclass(strategy, ScriptedStrategy):
        scripted = strategy(client, keys, owner, clock)
        clock = clock or RedisClock(client)
        return scripted, ScriptedStore(client, keys, scripted.scripts, clock), clock
    if issubclass(strategy, TransactionalStrategy):
        clock = clock or HostClock()
        transactional = strategy(client, keys, owner, clock)
        return transactional, TransactionalStore(client, keys, transactional, clock), clock
    raise ConfigurationError(
        f"strategy {strategy.name!r} must derive from ScriptedStrategy or TransactionalStrategy: they say how its "
        f"index is written"
    )
