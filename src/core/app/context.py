"""What a running task may know about itself."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from datetime import datetime

from ..clock import datetime_of
from ..errors import DueqError


@dataclass(frozen=True, slots=True)
class Context:
    """The task that is running: ``dueq.current()`` returns it.

    ``token`` is the fencing token: higher at every claim of any task, so a store that remembers the highest it saw
    can refuse the writes of an owner that was replaced meanwhile.
    """

    id: str
    task: str
    queue: str
    namespace: str
    token: int
    attempt: int
    """1 for the first start, counting every start."""
    due_us: int
    cause: str = ""
    """Why it starts again: ``retry``, ``snoozed``, ``worker_lost`` or ``lease_expired``; empty at the first start."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """What its producer gave it on its way: see ``Task.at``."""

    @property
    def due_at(self) -> datetime:
        return datetime_of(self.due_us)


rescheduled_itself: set[int] = set()
"""Tokens of runs in this process whose tasks have asked for a next run, until the end of the run is settled."""

running: ContextVar[Context] = ContextVar("dueq_running")


class Stage:
    """The task that runs on the main thread of a worker, and the threads that do not belong to it.

    A thread that a task starts does not have the task's context variables. It is recognised because it was not there
    before the task. Threads of earlier tasks do not belong to it: they would get the token of another task.
    """

    def __init__(self) -> None:
        self.context: Context | None = None
        self._strangers: tuple[threading.Thread, ...] = ()

    def enter(self, context: Context) -> Token[Context]:
        """``context``'s task begins, in this thread."""
        self._strangers = tuple(threading._active.values())  # type: ignore[attr-defined]  # enumerate() costs 5 x that
        self.context = context
        return running.set(context)

    def leave(self, token: Token[Context]) -> None:
        """That task has ended."""
        self.context, self._strangers = None, ()
        running.reset(token)

    def belongs(self, thread: threading.Thread) -> bool:
        """Whether the task that runs has started ``thread``, or one of its threads has."""
        return thread not in self._strangers and not isinstance(thread, threading._DummyThread)


STAGE = Stage()


def current() -> Context:
    """The task that is running here: in its thread, or in one that it has started.

    Raises DueqError outside of one, and in threads that were there before the task, such as those of a pool.
    """
    try:
        return running.get()
    except LookupError:
        context, thread = STAGE.context, threading.current_thread()
    if context is None:
        raise DueqError("no task is running here: dueq.current() works inside a task that a dueq worker runs")
    if not STAGE.belongs(thread):
        raise DueqError(
            f"the thread {thread.name!r} is not one that the running task has started: call dueq.current() in the "
            f"task, and pass on what it returns (or run the function by contextvars.copy_context().run)"
        )
    return context
