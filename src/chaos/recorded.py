"""Wraps a function of a user's application, so that it writes into the ledger when it runs as a task."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ..core.app.context import running
from ..harness.ledger import DIRECTORY_VARIABLE, Failure, Finish, Start, ledger_of

_recorded_token: ContextVar[int] = ContextVar("dueq_chaos_recorded", default=0)
"""The token of the start that is being recorded in this context."""


def recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with a line in the ledger when the task ``name`` starts, and one when it returns.

    It writes only if a worker runs it as that task. If another task, or the function itself, calls it, it just runs.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        me = running.get(None)
        if me is None or me.task != name or me.token == _recorded_token.get():
            return function(*args, **kwargs)
        book = ledger_of(os.environ.get(DIRECTORY_VARIABLE, ""))
        book.start(Start(me.id, _now_us(), me.due_us, me.token, me.attempt, os.getpid(), me.cause))
        inside = _recorded_token.set(me.token)
        try:
            result = function(*args, **kwargs)
        except BaseException:
            book.failure(Failure(me.id, _now_us(), me.token, os.getpid()))
            raise
        finally:
            _recorded_token.reset(inside)
        book.finish(Finish(me.id, _now_us(), me.token, os.getpid()))
        return result

    return run


def _now_us() -> int:
    return time.time_ns() // 1000
