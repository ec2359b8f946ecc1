"""One namespace on one server: its client, key names, strategy and store, put together."""

from __future__ import annotations

from dataclasses import replace

import redis

from .client.connection import connect, explained
from .client.embedded import EmbeddedServer, default_directory
from .client.protocol import SHOWN
from .client.transactions import Session, Transactions
from .clock import Clock, HostClock, RedisClock
from .config import Settings
from .errors import ConfigurationError, StrategyYields
from .schema import ownership
from .schema.keys import Keys, unique_name
from .store import registry
from .store.base import Store
from .store.damaged_meta import put_damage_apart
from .store.strategy import ScriptedStrategy, Strategy, TransactionalStrategy


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
        cls,
        settings: Settings,
        *,
        timeout: float | None = None,
        owner: str | None = None,
        clock: Clock | None = None,
        engine: bool = False,
        silence: float | None = None,
    ) -> Namespace:
        """Connect, starting the embedded server if no address is given, and settle which strategy it is.

        ``owner`` is the unique name of the process, which whoever sees it die knows, too (see ``Strategy.recover``).
        ``clock`` is the time to go by instead of the strategy's own choice, for tests. ``engine`` says that this is a
        process of one, to whose strategy that of a producer yields. ``silence`` is for how many seconds an embedded
        server may say nothing.
        Raises StrategyMismatch if the namespace is kept by another strategy than ``settings`` asks for,
        NamespaceTooNew if this version must not write there, ConfigurationError if there is no such strategy,
        ServerUnavailable or ServerRefused if Redis does not answer.
        """
        if settings.strategy is not None:
            registry.find(settings.strategy)  # first: advice to move a namespace to one that is none leads nowhere
        settings = resolve(settings, silence)
        assert settings.redis_url is not None
        keys = Keys(settings.namespace)
        client = connect(settings.redis_url) if timeout is None else connect(settings.redis_url, timeout=timeout)
        with explained(settings.redis_url, writes=False):
            written = ownership.look(client, keys)
            if ownership.damaged(ownership.named(written)):
                put_damage_apart(client, keys)
                written = ownership.look(client, keys)
            chosen = settings.strategy or ownership.owner_of(written) or registry.DEFAULT
            try:
                ownership.require(keys, chosen, written)
            except StrategyYields:
                if not engine:
                    raise
        strategy = registry.find(chosen)
        return cls(replace(settings, strategy=chosen), client, strategy, owner or unique_name("process"), clock)

    def claim(self) -> None:
        """Record that an engine chose this strategy for this namespace, before its tasks are run.

        Fills in what an older dueq did not write. Raises StrategyMismatch if another keeps it (StrategyYields if a
        producer chose that), NamespaceMigrating if a migration to this one is not over, NamespaceTooNew.
        """
        meta, name, store = self.keys.plain("meta"), self.strategy.name, self.strategy.store

        def attempt(session: Session) -> None:
            session.watch(meta)
            [written] = session.read([("HMGET", meta, *ownership.FIELDS)])
            ownership.require(self.keys, name, written, settled=True)
            written_store = written[-1]
            if written_store not in (None, store.encode()):
                raise ownership.other_store(self.keys.namespace, written_store.decode(errors=SHOWN), store)
            if None in (written[0], *written[2:]) or ownership.chosen_by_producer(written):
                session.commit(ownership.written(self.keys, name, store, "engine"))

        Transactions(self.client).run(attempt)

    def under(self, strategy: str) -> Namespace:
        """The same namespace, over the same connections, as seen by the strategy of this name."""
        settings = replace(self.settings, strategy=strategy)
        return Namespace(settings, self.client, registry.find(strategy), self.strategy.owner, None)

    def close(self) -> None:
        """Close every connection."""
        self.strategy.close()
        self.client.connection_pool.disconnect()


def resolve(settings: Settings, silence: float | None = None) -> Settings:
    """``settings`` with an address: if none is given, the embedded server's, started if need be (see its ``start``)."""
    if settings.redis_url:
        return settings
    return replace(settings, redis_url=EmbeddedServer(default_directory()).start(silence=silence))


def _built(
    strategy: type[Strategy], client: redis.Redis, keys: Keys, owner: str, clock: Clock | None
) -> tuple[Strategy, Store, Clock]:
    """The strategy, the store that its kind of index needs, and the clock that both go by.

    A process needs one of the stores, and imports only that.
    """
    if issubclass(strategy, ScriptedStrategy):
        from .store.scripted.store import ScriptedStore

        scripted = strategy(client, keys, owner, clock)
        clock = clock or RedisClock(client)
        return scripted, ScriptedStore(client, keys, scripted.scripts, clock), clock
    if issubclass(strategy, TransactionalStrategy):
        from .store.transactional.store import TransactionalStore

        clock = clock or HostClock()
        transactional = strategy(client, keys, owner, clock)
        return transactional, TransactionalStore(client, keys, transactional, clock), clock
    raise ConfigurationError(
        f"strategy {strategy.name!r} must derive from ScriptedStrategy or TransactionalStrategy: they say how its "
        f"index is written"
    )
