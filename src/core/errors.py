"""Every error that dueq raises on purpose, in one hierarchy.

A message says what happened, to what, and what to do next. Nothing here ever carries a password: addresses
are redacted before they reach a message (see ``redaction.redact``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DueqError(Exception):
    """Root of all errors raised by dueq.

    If Redis failed while tasks were scheduled, cancelled or rescheduled, ``ids`` are those of all the tasks that were
    asked for, in order: asking for them again, by these ids, is safe. ``handles`` are of those that were scheduled
    before it failed: the first ones. ``untouched`` says that it is certain that nothing else was done: Redis was not
    reached, or refused before all.
    """

    ids: Sequence[str] = ()
    handles: Sequence[Any] = ()
    untouched: bool = False


class ConfigurationError(DueqError):
    """A setting, flag or declaration is wrong; nothing was started or changed."""


class InvalidTask(DueqError, ValueError):
    """A task cannot be scheduled as asked (its time, id, queue or arguments); nothing was written."""


class NaiveDatetime(InvalidTask):
    """A datetime without a time zone: it names no instant."""


class PayloadTooLarge(InvalidTask):
    """The encoded arguments exceed the namespace's limit."""


class TaskTimeout(DueqError):
    """Raised inside a task that has run longer than its soft timeout, so that it can clean up and end."""


class WrongArguments(DueqError):
    """A record's arguments do not fit the task's function: trying again does not help."""


class NothingRan(DueqError):
    """A task returned something that has yet to be run, such as a coroutine: its work was not done."""


class UnknownTask(DueqError):
    """A record names a task that this application does not define."""


class ServerUnavailable(DueqError):
    """Redis cannot be reached, or the connection broke; a write's outcome may be unknown."""


class ServerRefused(DueqError):
    """Redis answered and refused: read-only, loading, out of memory, disk error, or missing permission."""


class NotReplicated(ServerRefused):
    """Tasks are scheduled, but fewer replicas than asked for have confirmed that they have them, too."""


class StrategyUnavailable(DueqError):
    """The chosen strategy needs something that this server cannot do."""


class StrategyMismatch(DueqError):
    """The namespace is owned by another strategy than the one asked for.

    ``scheduled`` are the results of those of many tasks that were scheduled before it turned out: the first ones.
    """

    scheduled: Sequence[Any] = ()


class NamespaceMigrating(StrategyMismatch):
    """The namespace is being moved from one strategy to another, and this has to wait until that is over."""


class StrategyYields(StrategyMismatch):
    """A producer chose the namespace's strategy, and that yields to the first engine that asks for another."""


class StoreMismatch(StrategyMismatch):
    """The namespace uses another store than this process found, or chose, when it began."""


class StoreYields(StoreMismatch, StrategyYields):
    """A producer chose the namespace's store, and that yields to the first engine that has another."""


class YieldUnderWay(StrategyYields, NamespaceMigrating):
    """The namespace's tasks are being moved to the strategy of the engine that asked for it."""


class NamespaceTooNew(DueqError):
    """The namespace has a record format, a record feature or a store that this version of dueq does not know."""


class NamespaceDamaged(DueqError):
    """The entry of the namespace's owner is damaged. An engine that serves it puts that right within seconds."""


class EmbeddedServerError(DueqError):
    """The Redis server that dueq starts by itself could not be started, found or stopped."""


class BootFailure(DueqError):
    """A child process could not begin its work, and starting it again would not help."""


class RestartLimitExceeded(DueqError):
    """Children died more often than the restart limit allows."""
