"""The interface for applications: ``Dueq``, its tasks, and handles of scheduled tasks."""

from __future__ import annotations

import contextlib
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from ..clock import Delay, When, delay_us, due_us
from ..config import Settings, check_name, from_environment
from ..errors import ConfigurationError, DueqError, InvalidTask, UnknownTask
from ..process.shadowed import imports_of_ours
from ..schema.record import check_id
from ..store.values import NewTask, Scheduled
from .definition import check_expires, check_function, failures, name_of
from .options import Expires, written
from .payload import encode_body
from .policy import Backoff, Timeouts, check_seconds
from .task import DEFAULT_QUEUE, HANDLER, Call, Handle, Task, new_id
from .unscheduled import warn_of, with_ids

if TYPE_CHECKING:
    from .lookup import TaskInfo
    from .producer import Producer

P = ParamSpec("P")
Errors = type[BaseException] | Sequence[type[BaseException]]
R = TypeVar("R")

_PER_TRIP = 1000  # tasks scheduled in one round trip, and in one redis_timeout
_REPLY_S = 1.0


def _check_function(function: object) -> None:
    if isinstance(function, Task):
        raise ConfigurationError(
            f"{function.name} is a task already: for another app, give it {function.name}.function"
        )
    check_function(function)


def _applied(define: Callable[[Any], Any], functions: Sequence[Any]) -> Any:
    """The result of a decorator: without brackets it gets the function itself; with them it returns ``define``."""
    if not functions:
        return define
    if len(functions) > 1:
        raise ConfigurationError("a decorator takes one function; options are named: @app.task(queue=…, name=…)")
    return define(functions[0])


_apps: weakref.WeakSet[Dueq] = weakref.WeakSet()


def _renew_locks() -> None:
    # a fork copies a lock as it is, also if a thread held it that the child does not have
    for app in _apps:
        app._lock = threading.Lock()
        if app._producer is not None:
            app._producer.renew_lock()


os.register_at_fork(after_in_child=_renew_locks)


class Dueq:
    """An application: its tasks, and the namespace that they are scheduled in.

    Without an address, ``DUEQ_REDIS_URL`` is used, else the Redis server that dueq starts by itself. Nothing is
    connected or started before the first task is scheduled. Safe to use from several threads, and after a fork.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        namespace: str | None = None,
        strategy: str | None = None,
        max_payload: int = 64 * 1024,
        soft_timeout: float | None = None,
        hard_timeout: float | None = None,
        redis_timeout: float = 5.0,
    ) -> None:
        """``soft_timeout`` and ``hard_timeout`` (seconds) are those of tasks that have none of their own: see ``task``.

        ``redis_timeout`` is how many seconds a call may wait for Redis, for each thousand tasks that it schedules; each
        call can have its own. After that time it raises ServerUnavailable; repeating it with the error's ``ids`` is
        safe.
        """
        self._settings = from_environment(redis_url, namespace, strategy, max_payload)
        self.redis_timeout = check_seconds("redis_timeout", redis_timeout)
        self.timeouts = Timeouts(soft_timeout, hard_timeout)
        self._tasks: dict[str, Task[..., Any]] = {}
        self._producer: Producer | None = None
        self._lock = threading.Lock()
        _apps.add(self)

    # -- defining tasks

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        *,
        queue: str = DEFAULT_QUEUE,
        retries: int = 3,
        backoff: Backoff | None = None,
        retry_for: Errors | None = None,
        bury_for: Errors = (),
        name: str | None = None,
        soft_timeout: float | None = None,
        hard_timeout: float | None = None,
        expires: float | timedelta | None = None,
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(
        self,
        *function: Callable[..., Any],
        queue: str = DEFAULT_QUEUE,
        retries: int = 3,
        backoff: Backoff | None = None,
        retry_for: Errors | None = None,
        bury_for: Errors = (),
        name: str | None = None,
        soft_timeout: float | None = None,
        hard_timeout: float | None = None,
        expires: float | timedelta | None = None,
    ) -> Any:
        """Make a function a task of ``queue``. If it raises, it is tried ``retries`` times more, spaced by ``backoff``.

        ``retry_for`` and ``bury_for`` are classes of errors. An error of ``bury_for`` makes the task a dead letter at
        once; so does one that is not of ``retry_for``, if that is given. For one run, the task itself can decide:
        ``raise Bury(reason)``, ``RetryIn(seconds)``, ``Snooze(until)``.

        Written above a ``def`` as ``@app.task`` or ``@app.task(queue=…)``. ``name`` is what records carry; by default
        the function's module and qualified name, as workers import it.

        After ``soft_timeout`` seconds, TaskTimeout is raised inside the task. After ``hard_timeout``, its worker is
        killed (and the task is run again, as after any loss of a worker, at most ``--max-losses`` times); if only the
        soft one is given, that is 10 seconds later. Without either, the app's time-outs count; by default a task may
        run for ever.

        ``expires`` (seconds or a timedelta) is how long after its due time a task may start: later it is not started,
        but counted as ``misfired``. This goes for every start, so for retries, too. A call can have another.

        Raises ConfigurationError, which says what to write instead, for any value that could not work later; for a
        function that only makes something to be run (``async def``, or with ``yield``); and for one that no worker
        could import.
        """
        check_name("queue", queue)
        when_it_fails = failures(retries, backoff, retry_for, bury_for)
        check_expires(expires)
        own = Timeouts(soft_timeout, hard_timeout) if (soft_timeout, hard_timeout) != (None, None) else None

        def define(function: Callable[..., Any]) -> Task[..., Any]:
            _check_function(function)
            return self._define(Task(self, function, name_of(function, name), queue, when_it_fails, own, expires))

        return _applied(define, function)

    @overload
    def handler(self, function: Callable[[Any], R], /) -> Task[[Any], R]: ...

    @overload
    def handler(self) -> Callable[[Callable[[Any], R]], Task[[Any], R]]: ...

    def handler(self, *function: Callable[[Any], Any]) -> Any:
        """Make a function the one that gets the data of ``schedule_task``. Raises ConfigurationError like ``task``."""

        def define(function: Callable[[Any], Any]) -> Task[[Any], Any]:
            _check_function(function)
            task = Task(self, function, HANDLER)
            try:
                task.signature.check([None], {})
            except InvalidTask:
                raise ConfigurationError(
                    f"the handler is given the data as its one argument, so define it as def handle(data), not "
                    f"{function.__qualname__}{inspect.signature(function)}"
                ) from None
            return self._define(task)

        return _applied(define, function)

    def _define(self, task: Task[P, R]) -> Task[P, R]:
        if task.name in self._tasks:
            raise ConfigurationError(f"two tasks are called {task.name!r}: give one of them another name=")
        self._tasks[task.name] = task
        return task

    def find(self, name: str) -> Task[..., Any]:
        """The task called ``name``. Raises UnknownTask."""
        try:
            return self._tasks[name]
        except KeyError:
            if name == HANDLER:
                raise UnknownTask("this application has no handler: decorate a function with @app.handler") from None
            known = ", ".join(sorted(self._tasks)) or "none"
            raise UnknownTask(
                f"no task is called {name!r} (known: {known}): is the code of producer and worker the same?"
            ) from None

    @property
    def tasks(self) -> dict[str, Task[..., Any]]:
        """The defined tasks by name."""
        return dict(self._tasks)

    @property
    def task_names(self) -> list[str]:
        """The names of the defined tasks, sorted; without the handler, which has none."""
        return sorted(name for name in self._tasks if name != HANDLER)

    @property
    def task_count(self) -> int:
        """How many tasks are defined."""
        return len(self._tasks)

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that a task names, in the order of the tasks."""
        return tuple(dict.fromkeys(task.queue for task in self._tasks.values()))

    # -- scheduling

    def schedule_task(
        self,
        timestamp: When,
        task_data: Any,
        *,
        queue: str = DEFAULT_QUEUE,
        id: str | None = None,
        expires: Expires | None = None,
        headers: Mapping[str, str] | None = None,
        redis_timeout: float | None = None,
    ) -> Handle:
        """Schedule ``task_data`` for the ``@app.handler`` function at ``timestamp`` (epoch seconds).

        It is JSON, or what the handler of this application declares its argument to be. For ``expires`` and ``headers``
        see ``Task.at``.
        """
        handler = self._tasks.get(HANDLER)
        if handler is None:
            body = encode_body(HANDLER, [task_data], {}, self.settings.max_payload, _data_name)
        else:
            body = handler.body([task_data], {}, _data_name)
        task_id = new_id() if id is None else check_id(id)
        call = Call(
            HANDLER, check_name("queue", queue), due_us(timestamp), False, body, task_id, written(expires, headers)
        )
        return self.schedule_many([call], redis_timeout=redis_timeout)[0]

    def schedule_many(
        self,
        calls: Iterable[Call],
        *,
        replicas: int = 0,
        replicas_within: float = 1.0,
        redis_timeout: float | None = None,
    ) -> list[Handle]:
        """Schedule many calls (see ``Task.call_at``), in one round trip per thousand; handles in the same order.

        Each thousand has ``redis_timeout`` seconds, the app's if none are given. If Redis fails, or they are over, the
        error (ServerUnavailable or another DueqError) says what is known: ``error.handles`` are of the tasks scheduled
        before, ``error.ids`` of all tasks. Tasks that were sent stay scheduled, and scheduling all again with these ids
        is safe.
        With ``replicas``, return only when that many have the tasks, too, so that a failover does not lose them; raises
        NotReplicated if they do not confirm that ``replicas_within`` that many seconds. Needs Redis 3.0.
        """
        wanted = list(calls)
        if others := {*map(type, wanted)} - {Call}:
            raise InvalidTask(
                f"schedule_many takes calls, such as remind.call_after(60)(42), not a {others.pop().__name__}"
            )
        if isinstance(replicas, bool) or not isinstance(replicas, int):
            raise InvalidTask(f"replicas is {replicas!r}, but must be a whole number")
        check_seconds("replicas_within", replicas_within)
        handles: list[Handle] = []
        try:
            written_to = self._connected().primary(self._limit(redis_timeout)) if replicas > 0 else ""
            for at in range(0, len(wanted), _PER_TRIP):
                self._schedule(wanted[at : at + _PER_TRIP], handles, redis_timeout)
            if replicas > 0:
                limit = max(self._limit(redis_timeout), replicas_within + _REPLY_S)
                self._connected().confirm(replicas, replicas_within, written_to, limit)
        except DueqError as error:
            raise with_ids(error, wanted, handles, _PER_TRIP) from error.__cause__
        return handles

    def _schedule(self, calls: Sequence[Call], handles: list[Handle], redis_timeout: float | None) -> None:
        """Schedule as many as go in one round trip, and append their handles."""
        new = [NewTask(call.id, call.queue, call.due, call.body, call.relative, call.tail) for call in calls]
        done: list[Scheduled] = []
        try:
            self._connected().schedule(new, done, self._limit(redis_timeout))
        finally:
            for call, result in zip(calls, done, strict=False):
                due = result.now_us + call.due if call.relative else max(call.due, result.now_us)
                state = "after this run" if result.again else result.existing or "scheduled"
                handles.append(Handle(self, call.id, due, state, not result.existing))
            warn_of(handles[len(handles) - len(done) :])

    def get(self, task_id: str, *, redis_timeout: float | None = None) -> TaskInfo | None:
        """What is known of a task: its state, due time, attempts, arguments, last failure; None if there is none.

        A task that is done, cancelled or misfired is forgotten.
        """
        check_id(task_id)
        with self._of_one(task_id):
            return self._connected().info(task_id, self._limit(redis_timeout))

    def cancel(self, task_id: str, *, redis_timeout: float | None = None) -> bool:
        """Forget a task. True only if it will not run: False if a worker has it, it has ended, or never was.

        A task that cancels itself while it runs takes back the next run that it has asked for.
        Raises NamespaceMigrating while the namespace is being moved to another strategy; so does ``reschedule``.
        If Redis fails or does not reply in ``redis_timeout`` seconds, the outcome is not known: repeating is safe.
        """
        check_id(task_id)
        with self._of_one(task_id):
            return self._connected().cancel(task_id, self._limit(redis_timeout))

    def reschedule(
        self,
        task_id: str,
        *,
        at: When | None = None,
        after: Delay | None = None,
        redis_timeout: float | None = None,
    ) -> bool:
        """Give a task another due time. True only if it will not run at its old one."""
        check_id(task_id)
        if (at is None) == (after is None):
            raise InvalidTask("reschedule needs either at= or after=")
        due, relative = (due_us(at), False) if at is not None else (delay_us(after or 0), True)
        with self._of_one(task_id):
            return self._connected().reschedule(task_id, due, relative, self._limit(redis_timeout))

    @contextlib.contextmanager
    def _of_one(self, task_id: str) -> Iterator[None]:
        """Errors raised inside carry ``task_id`` in their ``ids``."""
        try:
            yield
        except DueqError as error:
            error.ids = (task_id,)
            raise

    # -- connection

    def bind(self, settings: Settings) -> None:
        """Use ``settings`` from now on, except their strategy: a command's flags outrank what the code says.

        The strategy is read from Redis, so that tasks can still schedule tasks after the namespace was migrated.
        """
        with self._lock:
            self._settings = replace(settings, strategy=None, max_payload=self.settings.max_payload)
            self._producer = None

    def _limit(self, redis_timeout: float | None) -> float:
        return self.redis_timeout if redis_timeout is None else check_seconds("redis_timeout", redis_timeout)

    @property
    def settings(self) -> Settings:
        """Where the tasks are scheduled; with the address of the server that was started for them, once one was."""
        return self._settings if self._producer is None else self._producer.settings

    def _connected(self) -> Producer:
        if (known := self._producer) is not None:
            return known
        with imports_of_ours():
            from .producer import Producer  # what speaks to Redis takes longer to import than all the rest

        with self._lock:
            if self._producer is None:
                self._producer = Producer(self._settings)
            return self._producer


def _data_name(position: int) -> str:
    return "task_data"
