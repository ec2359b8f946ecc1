"""One namespace on one server: its client, key names, strategy and store, put together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import redis

from .client.connection import connect
from .client.embedded import EmbeddedServer, default_directory
from .client.failures import explained
from .client.transactions import Session, Transactions
from .clock import Clock, HostClock, RedisClock
from .config import Settings
from .errors import ConfigurationError, StrategyYields
from .schema import ownership
from .schema.keys import Keys, unique_name
from .schema.ownership import Ownership, StoreKind
from .schema.scripts import Scripts
from .store import registry
from .store.base import Store
from .store.damaged_meta import put_damage_apart
from .store.server_scripts import store_for
from .store.strategy import ScriptedStrategy, Strategy, TransactionalStrategy


class Namespace:
    """What a producer, worker, dispatcher or command needs to reach a namespace."""

    def __init__(
        self, settings: Settings, client: redis.Redis, ownership: Ownership, owner: str, clock: Clock | None
    ) -> None:
        self.settings, self.client = settings, client
        self.keys = Keys(settings.namespace)
        self.strategy, self.store, self.clock = _built(ownership, client, self.keys, owner, clock)

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
        """Connect, starting the embedded server if no address is given, and find out which strategy and store to use.

        ``owner`` is the unique name of the process; its supervisor knows it, too (see ``Strategy.recover``).
        ``clock`` replaces the clock of the store, for tests. ``engine`` says that this is a process of an engine, which
        may take over a namespace whose strategy a producer chose. An embedded server may be silent for ``silence``
        seconds.
        Raises StrategyMismatch if the namespace is owned by another strategy than ``settings`` asks for,
        NamespaceTooNew if this version must not write there, ConfigurationError if there is no such strategy,
        ServerUnavailable or ServerRefused if Redis does not answer.
        """
        if settings.strategy is not None:
            registry.find(settings.strategy)  # first: nobody is to be advised to migrate to an unknown strategy
        settings = resolve(settings, silence)
        assert settings.redis_url is not None
        keys = Keys(settings.namespace)
        client = connect(settings.redis_url) if timeout is None else connect(settings.redis_url, timeout=timeout)
        with explained(settings.redis_url, writes=False):
            written = ownership.look(client, keys)
            if ownership.damaged(ownership.named(written)):
                put_damage_apart(client, keys)
                written = ownership.look(client, keys)
            name = settings.strategy or ownership.owner_of(written) or registry.DEFAULT
            chosen = Ownership(name, _store_for(client, registry.find(name), written, engine))
            try:
                ownership.require(keys, chosen, written)
            except StrategyYields:
                if not engine:
                    raise
        return cls(replace(settings, strategy=name), client, chosen, owner or unique_name("process"), clock)

    def claim(self, *, again: bool = False) -> None:
        """Record that an engine chose this strategy for this namespace, before its tasks are run.

        Fills in the fields that an older dueq did not write. ``again`` says that this engine claimed the namespace
        before. Raises StrategyMismatch if another strategy owns it (StrategyYields if a producer chose that),
        StoreMismatch if it uses another store, NamespaceMigrating if a migration to this strategy is not over,
        NamespaceTooNew.
        """
        ours = self.strategy.ownership

        def attempt(session: Session) -> None:
            session.watch(self.keys.plain("meta"))
            [written] = session.read([ownership.question(self.keys)])
            ownership.require(self.keys, ours, written, settled=True)
            if not again:
                self.refuse_beside_others(session, written, ours)
            if None in (written[0], *written[2:]) or ownership.chosen_by_producer(written):
                session.commit(ownership.written(self.keys, ours, "engine", ownership.format_in(written)))

        Transactions(self.client).run(attempt)

    def refuse_beside_others(self, session: Session, written: Any, ours: Ownership) -> None:
        """Raise StoreMismatch if processes of an older dueq may be alive that use another store than ``ours``.

        An older dueq did not write which store it uses, and its processes would not notice that another is used now.
        Any worker or supervisor that counts as alive may be such a process. ``written`` is the reply to
        ``ownership.question``.
        """
        old_store = registry.find(ours.strategy).stores()[-1]  # a dueq that did not write its store used this one
        if written[0] is None or ownership.store_in(written) is not None or ours.store == old_store:
            return
        now = self.clock.now_us()
        registries = (self.keys.plain("workers"), self.keys.plain("supervisors"))
        if any(session.read([("ZRANGEBYSCORE", key, now, "+inf", "LIMIT", 0, 1) for key in registries])):
            raise ownership.others_live(self.keys.namespace, old_store, ours)

    def under(self, kept: Ownership) -> Namespace:
        """The same namespace, over the same connections, as seen by another strategy, or with another store."""
        settings = replace(self.settings, strategy=kept.strategy)
        return Namespace(settings, self.client, kept, self.strategy.owner, None)

    def close(self) -> None:
        """Close every connection."""
        self.strategy.close()
        self.client.connection_pool.disconnect()


def resolve(settings: Settings, silence: float | None = None) -> Settings:
    """``settings`` with an address: the given one, or that of the embedded server, which is started if it is not up."""
    if settings.redis_url:
        return settings
    return replace(settings, redis_url=EmbeddedServer(default_directory()).start(silence=silence))


def _store_for(client: redis.Redis, strategy: type[Strategy], written: Any, engine: bool) -> StoreKind:
    """The store that the namespace has, or is to have.

    An older dueq did not write its store: then the store that it used counts, until an engine writes another.
    """
    unsaid = ownership.owner_of(written) is not None and ownership.store_in(written) is None
    if unsaid and not engine:
        return strategy.stores()[-1]
    return store_for(client, strategy, ownership.store_in(written))


def _built(
    kept: Ownership, client: redis.Redis, keys: Keys, owner: str, clock: Clock | None
) -> tuple[Strategy, Store, Clock]:
    """The strategy, the store that writes its index, and the clock that both go by.

    A process needs one of the stores, and imports only that.
    """
    strategy = registry.find(kept.strategy)
    if issubclass(strategy, ScriptedStrategy):
        scripted = strategy(client, keys, owner, clock)
        return _scripted(scripted, scripted.scripts, clock or RedisClock(client))
    if not issubclass(strategy, TransactionalStrategy):
        raise ConfigurationError(
            f"strategy {strategy.name!r} must derive from ScriptedStrategy or TransactionalStrategy: they say how its "
            f"index is written"
        )
    if kept.store == "scripted":
        now = None if clock is None else clock.now_us
        built = strategy(client, keys, owner, clock or RedisClock(client))
        built.store = kept.store
        scripts = Scripts(client, keys, strategy.name, strategy.timers(), now, lazy=strategy.lazy)
        return _scripted(built, scripts, built.clock)
    from .store.transactional.store import TransactionalStore

    transactional = strategy(client, keys, owner, clock or HostClock())
    return transactional, TransactionalStore(client, keys, transactional, transactional.clock), transactional.clock


def _scripted(strategy: Strategy, scripts: Scripts, clock: Clock) -> tuple[Strategy, Store, Clock]:
    from .store.scripted.store import ScriptedStore

    return strategy, ScriptedStore(strategy.client, strategy.keys, strategy, scripts, clock), clock
