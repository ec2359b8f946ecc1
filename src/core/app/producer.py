"""An application's requests to Redis. It imports all code that speaks to Redis, so the application imports it late."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from ..client import partly
from ..client.deadline import within
from ..client.failures import explained
from ..config import Settings
from ..errors import NamespaceMigrating, StoreMismatch, StrategyMismatch
from ..namespace import Namespace
from ..store.values import NewTask, Scheduled
from ..upkeep.making_room import scheduled, with_room
from .context import Context, rescheduled_itself, running
from .lookup import TaskInfo, info
from .replication import confirm, primary

R = TypeVar("R")


class Producer:
    """The namespace of an application, which the first request opens. Safe to use from several threads.

    Each request may wait ``seconds`` for Redis. It raises the errors that ``Dueq`` documents.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        """With the address of the server, once it is known: one may have been started."""
        self._namespace: Namespace | None = None
        self._lock = threading.Lock()

    def renew_lock(self) -> None:
        """In a fork: a thread that the fork does not have may have held the old one."""
        self._lock = threading.Lock()

    def schedule(self, tasks: Sequence[NewTask], done: list[Scheduled], seconds: float) -> None:
        """Schedule ``tasks``, and append to ``done`` what came of each, also if it ends with an error."""

        def rest(namespace: Namespace) -> None:
            try:
                _schedule_all(namespace, tasks[len(done) :], done)
            except Exception as error:
                done.extend(partly.scheduled(error))  # or, if repeated, they would look like tasks of others
                raise

        self.call(rest, seconds)

    def cancel(self, task_id: str, seconds: float) -> bool:
        """Whether the task will not run."""
        return self.call(lambda namespace: _cancel(namespace, task_id), seconds)

    def reschedule(self, task_id: str, due: int, relative: bool, seconds: float) -> bool:
        """Whether the task will not run at its old time."""
        return self.call(lambda space: space.store.reschedule(task_id, due, relative=relative), seconds) is not None

    def info(self, task_id: str, seconds: float) -> TaskInfo | None:
        """What is known of a task; None if there is none."""
        return self.call(lambda space: info(space, task_id), seconds)

    def primary(self, seconds: float) -> str:
        """See ``replication.primary``."""
        return self.call(lambda space: primary(space.client), seconds)

    def confirm(self, replicas: int, replicas_within: float, written_to: str, seconds: float) -> None:
        """See ``replication.confirm``."""
        self.call(lambda space: confirm(space.client, space.keys, replicas, replicas_within, written_to), seconds)

    def call(self, request: Callable[[Namespace], R], seconds: float) -> R:
        """The result of ``request``, repeated if the namespace was moved to another strategy meanwhile."""
        with within(seconds):
            namespace = self.reached()
            try:
                with explained(namespace.settings.redis_url or ""):
                    return with_room(request, namespace)
            except NamespaceMigrating:
                raise
            except StoreMismatch:
                pass
            except StrategyMismatch:
                if self.settings.strategy is not None:
                    raise
            with self._lock:
                if self._namespace is namespace:
                    self._namespace = None
            namespace = self.reached()
            with explained(namespace.settings.redis_url or ""):
                return with_room(request, namespace)

    def reached(self) -> Namespace:
        """The namespace, opened now if it is not."""
        if (known := self._namespace) is not None:
            return known
        with self._lock:
            if self._namespace is None:
                self._namespace = Namespace.open(self.settings)
                # the address stays, be it that of a server started for this; the strategy may be another one later
                self.settings = replace(self.settings, redis_url=self._namespace.settings.redis_url)
            return self._namespace


def _own_run(namespace: Namespace) -> Context | None:
    """The task of this namespace that is running here, if any is."""
    context = running.get(None)
    return context if context is not None and context.namespace == namespace.keys.namespace else None


def _schedule_all(namespace: Namespace, tasks: Sequence[NewTask], done: list[Scheduled]) -> None:
    """Schedule ``tasks`` and append what came of them; a call of the task that runs here becomes its next run."""
    own = _own_run(namespace)
    if own is None or all(task.id != own.id for task in tasks):
        done.extend(scheduled(namespace, tasks))
        return
    for task in tasks:
        now = namespace.store.again(task, own.token) if task.id == own.id else None
        if now is not None:
            rescheduled_itself.add(own.token)
        done += namespace.store.schedule([task]) if now is None else [Scheduled(now, "", again=True)]


def _cancel(namespace: Namespace, task_id: str) -> bool:
    own = _own_run(namespace)
    if own is not None and own.id == task_id and namespace.store.forget_again(task_id, own.token):
        return True
    return namespace.store.cancel(task_id)
