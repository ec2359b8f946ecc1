"""Every error that dueq raises on purpose, in one hierarchy.

A message says what happened, to what, and what to do next. Nothing here ever carries a password: addresses
are redacted before they reach a message (see ``redaction.redact``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DueqError(Exception):
    """Root of all errors raised by dueq.

    If Redis failed while tasks were scheduled, cancelled or rescheduled, ``ids`` are the ids of all tasks of that call,
    in order: repeating the call with these ids is safe. ``handles`` are the handles of the tasks that were scheduled
    before Redis failed: the first ones. ``untouched`` says that certainly nothing else was done: Redis was not reached,
    or refused the call before it changed anything.
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


class NamespaceTooOld(ConfigurationError):
    """A namespace that an older dueq began has no room for what was asked; nothing was written."""


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
    """Tasks are scheduled, but fewer replicas than required have confirmed that they have the tasks, too."""


class StrategyUnavailable(DueqError):
    """The chosen strategy needs something that this server cannot do."""


class StrategyMismatch(DueqError):
    """The namespace is owned by another strategy than the one asked for.

    ``scheduled`` are the results of the tasks of the same call that were scheduled before the error: the first ones.
    """

    scheduled: Sequence[Any] = ()


class NamespaceMigrating(StrategyMismatch):
    """The namespace is being moved from one strategy to another, and the call has to wait until the move is over."""


class StrategyYields(StrategyMismatch):
    """A producer chose the namespace's strategy; the first engine with another strategy takes the namespace over."""


class StoreMismatch(StrategyMismatch):
    """The namespace uses another store than this process found, or chose, when it began."""


class StoreYields(StoreMismatch, StrategyYields):
    """A producer chose the namespace's store; the first engine with the other store takes the namespace over."""


class YieldUnderWay(StrategyYields, NamespaceMigrating):
    """The namespace's tasks are being moved to the strategy of the engine that takes it over."""


class NamespaceTooNew(DueqError):
    """The namespace has a record format, a record feature or a store that this version of dueq does not know."""


class NamespaceDamaged(DueqError):
    """A field that says who owns the namespace is damaged. An engine of the namespace repairs it within seconds."""


class EmbeddedServerError(DueqError):
    """The Redis server that dueq starts by itself could not be started, found or stopped."""


class BootFailure(DueqError):
    """A child process could not begin its work, and starting it again would not help."""


class RestartLimitExceeded(DueqError):
    """Children died more often than the restart limit allows."""
