"""Moves a namespace from one strategy to another: every scheduled task goes into the new index, from its record.

The first step writes into ``meta`` who owns the namespace now, and whose index still holds tasks (see ownership.py).
Until the last step deletes the second of these again, nothing leaves either index: the old strategy is refused
everywhere, and steps that would take tasks out of the new index wait. New tasks go there at once. So the tasks still to
be moved are, at any time, those that are in the old index and not in the new one. A process that dies half-way has lost
nothing, and has put nothing in twice; another process that runs the migration again does the rest. The old index is
forgotten as a whole, at the end.

``meta`` also names the process that migrates, and every step of the migration watches ``meta``: another process can
take over from one that seems dead. If that one was only slow, its next step is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from ..client.protocol import SHOWN, Command
from ..client.transactions import Session, Transactions
from ..errors import ConfigurationError
from ..namespace import Namespace
from ..schema import ownership
from ..schema.format import FORMATS
from ..schema.keys import unique_name
from ..schema.ownership import By, Ownership, StoreKind
from ..schema.record import readable_record
from ..schema.states import State
from ..schema.wakeups import wake_dispatcher
from ..store import registry
from ..store.requirements import check
from ..store.server_scripts import store_for
from ..store.strategy import Entry, fitting
from ..store.transactional.edit import entry_of
from . import engines

_WHILE_IT_LASTS = ("from", "migrator", "moved")  # fields of ``meta``
_BEAT_S = 1.0
_SHARDS = 16  # hashes of records read in one round trip
_LOOKED_UP = 10_000  # tasks looked up in the indexes at a time: a bucket is read whole for it, however many these are
_BATCH = 100

Progress = Callable[[int], None]
"""Called with how many more steps are done."""


def begin(
    namespace: Namespace,
    target: str,
    by: By = "engine",
    store: StoreKind | None = None,
    format_: str | None = None,
) -> Migration | None:
    """Let the strategy ``target`` own ``namespace`` from now on; None if it does so already, with nothing to move.

    ``store`` is the store to use; None: the store that the namespace has, or else the one that the server allows. A
    change of the store alone moves nothing, since both stores have the same layout. ``format_`` is the format that new
    records are to have; None: as before. Records that are there keep theirs.

    Goes on with a migration to ``target`` that was cut short. Until the migration is over, the namespace says that
    ``by`` chose the strategy: ``producer`` for a yield, so that engines wait for it and go on with it (ownership.py).
    Raises ConfigurationError if there is no such strategy, if it cannot have that store, if the format is unknown or
    older than the namespace's, or if a supervisor is alive that cannot read it; StrategyUnavailable if the
    server cannot carry it; NamespaceMigrating if a migration to another one is not over.
    """
    strategy, keys, me = registry.find(target), namespace.keys, unique_name("migration")
    if store is not None and store not in strategy.stores():
        raise ConfigurationError(
            f"strategy {target!r} cannot use the {store} store, only with {' or '.join(strategy.stores())}"
        )
    recorded = ownership.store_in(ownership.look(namespace.client, keys))
    ours = Ownership(target, store or store_for(namespace.client, strategy, recorded))
    check(namespace.client, strategy, keys, ours.store)

    def attempt(session: Session) -> str | None:
        session.watch(keys.plain("meta"))
        [reply] = session.read([ownership.question(keys)])
        owner, source, *_ = (None if raw is None else str(raw.decode(errors=SHOWN)) for raw in reply)
        before = ownership.format_in(reply)
        fields = ownership.written(keys, ours, by, _later(before, format_ or before))
        if owner is None:
            session.commit(fields)
            return None
        if source is None and owner == target:
            if (ownership.store_in(reply), before) != (ours.store, format_ or before):
                namespace.refuse_beside_others(session, reply, ours)
                session.commit([*fields, *wake_dispatcher(keys)])
            return None
        if source is not None and owner != target:
            raise ownership.unfinished(keys.namespace, source, owner, target)
        source = source or owner
        state: Command = ("HMSET", keys.plain("meta"), "from", source, "migrator", me)
        session.commit(
            [*fields, state, *wake_dispatcher(keys)]
        )  # dispatchers of the old strategy wake one another, and learn of it
        return source

    if format_ is not None:
        _refuse_beside_older(namespace, format_)
    source = Transactions(namespace.client).run(attempt)
    return None if source is None else Migration(namespace, source, ours, me)


def _later(before: str, wanted: str) -> str:
    """The format ``wanted``. Raises ConfigurationError if this dueq does not write it, or if it is older."""
    if wanted not in FORMATS:
        raise ConfigurationError(f"this dueq does not write records of format {wanted}, only of {' or '.join(FORMATS)}")
    if int(wanted) < int(before):
        raise ConfigurationError(
            f"the namespace has records of format {before}: it cannot go back to {wanted}, since "
            f"an older dueq could not read them"
        )
    return wanted


def _refuse_beside_older(namespace: Namespace, wanted: str) -> None:
    """Raise ConfigurationError if a supervisor is alive that cannot read the format ``wanted``."""
    now_us = namespace.store.time_us()
    older = [
        one.about for one in engines.supervisors(namespace) if one.alive(now_us) and int(one.about.format) < int(wanted)
    ]
    if older:
        shown = ", ".join(f"pid {about.pid} on {about.host}" for about in older[:5])
        raise ConfigurationError(
            f"an older dueq, which cannot read format {wanted}, runs in namespace {namespace.keys.namespace!r} "
            f"({shown}): stop it first; if it was killed, it counts as alive for 45 s"
        )


class Migration:
    """A migration that has begun. ``run`` does all of it. After an error, ``begin`` and ``run`` go on with it."""

    def __init__(self, namespace: Namespace, source: str, target: Ownership, me: str) -> None:
        self.source, self.target = source, target.strategy
        self.unreadable = 0
        """Records that a newer dueq wrote, or that are damaged: they are left as they are, and not indexed."""
        self._keys, self._me = namespace.keys, me
        old = fitting(registry.find(source), target.store)
        self._old, self._new = namespace.under(old), namespace.under(target)
        self._shards = list(self._keys.records())
        self._transactions = Transactions(namespace.client)
        self._beaten_at = time.monotonic()

    @property
    def steps(self) -> int:
        """How much there is to do: the measure of its progress."""
        return len(self._shards)

    def run(self, progress: Progress = lambda _: None) -> int:
        """Move all that is left to move, and end the migration; returns how many tasks were moved."""
        return sum(self.moves(progress))

    def moves(self, progress: Progress = lambda _: None) -> Iterator[int]:
        """The same step by step: each moves some tasks, and yields how many."""
        self.unreadable = 0
        while self._old.strategy.recover():  # what dispatchers of the old strategy had in hand becomes ready
            pass
        for entries in self._scheduled(progress):
            yield self._move(entries)
        self._end()

    def _scheduled(self, progress: Progress) -> Iterator[list[Entry]]:
        """Every task that waits for its time, or in a ready list."""
        found: list[Entry] = []
        for at in range(0, len(self._shards), _SHARDS):
            some = self._shards[at : at + _SHARDS]
            for task_id, raw in self._new.store.shards(some).items():
                record = readable_record(task_id, raw)
                self.unreadable += record is None
                if record is not None and record.state == State.SCHEDULED:
                    found.append(entry_of(record))
            if len(found) >= _LOOKED_UP or at + _SHARDS >= len(self._shards):
                yield found
                found = []
            progress(len(some))
            if time.monotonic() > self._beaten_at + _BEAT_S:
                self._commit([])

    def _move(self, entries: Sequence[Entry]) -> int:
        """Add those of ``entries`` that are in the old index, and were not moved before, to the new one.

        Nobody else changes these records or their places meanwhile, so they need not be watched.
        """
        elsewhere = set(self._old.strategy.missing(entries))  # ready, or scheduled since the migration began
        left = self._new.strategy.missing([entry for entry in entries if entry not in elsewhere])
        for at in range(0, len(left), _BATCH):
            # with the wake-up, Redis refuses all of it at maxmemory; without, it would run the script in part
            self._commit([*wake_dispatcher(self._keys), *self._new.strategy.add(left[at : at + _BATCH])])
        return len(left)

    def _end(self) -> None:
        for queue in self._new.store.queues():
            self._commit([])  # checks: the index must not be cleared if the old strategy owns the namespace again
            self._old.strategy.clear([queue])
        meta = self._keys.plain("meta")
        over: list[Command] = [("HSET", meta, "by", "engine"), ("HDEL", meta, *_WHILE_IT_LASTS)]
        self._commit([*over, *wake_dispatcher(self._keys)])

    def _commit(self, commands: Sequence[Command]) -> None:
        """Do ``commands`` as one step. Raises NamespaceMigrating, and does nothing, if another process migrates now."""

        def attempt(session: Session) -> None:
            session.watch(self._keys.plain("meta"))
            [state] = session.read([("HMGET", self._keys.plain("meta"), "strategy", "from", "migrator")])
            if state != [name.encode() for name in (self.target, self.source, self._me)]:
                raise ownership.taken_over(self._keys.namespace, self.source, self.target)
            session.commit([*self._beat(), *commands])

        self._transactions.run(attempt)

    def _beat(self) -> list[Command]:
        """The sign of life of a migration that takes its time."""
        now = time.monotonic()
        if now < self._beaten_at + _BEAT_S:
            return []
        self._beaten_at = now
        return [("HINCRBY", self._keys.plain("meta"), "moved", 1)]
