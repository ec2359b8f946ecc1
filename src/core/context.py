"""What a running task may know about itself."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from .clock import datetime_of
from .errors import DueqError


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
    """Why it starts again: ``retry``, ``worker_lost`` or ``lease_expired``; empty at the first start."""

    @property
    def due_at(self) -> datetime:
        return datetime_of(self.due_us)


running: ContextVar[Context] = ContextVar("dueq_running")


def current() -> Context:
    """The task that is running here. Raises DueqError outside of one."""
    try:
        return running.get()
    except LookupError:
        raise DueqError("no task is running here: dueq.current() works inside a task that a dueq worker runs") from None
