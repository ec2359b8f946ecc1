"""Somebody's application with a ledger around each of its tasks: ``dueq run dueq.chaos.watched:app``."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any

from ..core.context import current
from ..core.target import load
from ..replay.ledger import DIRECTORY_VARIABLE, Failure, Finish, Start, ledger_of
from . import OWN_APP_VARIABLE


def _recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with a line in the ledger when it starts, and one when it returns."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        me, book = current(), ledger_of(os.environ.get(DIRECTORY_VARIABLE, ""))
        book.start(Start(me.id, _now_us(), me.due_us, me.token, me.attempt, os.getpid(), me.cause))
        try:
            result = function(*args, **kwargs)
        except BaseException:
            book.failure(Failure(me.id, _now_us(), me.token, os.getpid()))
            raise
        book.finish(Finish(me.id, _now_us(), me.token, os.getpid()))
        return result

    return run


def _now_us() -> int:
    return time.time_ns() // 1000


app = load(os.environ.get(OWN_APP_VARIABLE, ""))
for _task in app.tasks.values():
    _task.function = _recorded(_task.function)
