"""An exception that no code caught becomes a line of the log, so that no tracebacks stand between its lines."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Any

log = logging.getLogger("dueq.process")


def log_what_nobody_catches() -> None:
    """Log uncaught exceptions from now on, in every thread, and errors that Python itself only reports."""
    sys.excepthook = _ended
    threading.excepthook = _thread_ended
    sys.unraisablehook = _reported


def _ended(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    log.critical("this process ends, since nobody caught %s", kind.__name__, exc_info=(kind, error, traceback))


def _thread_ended(what: threading.ExceptHookArgs) -> None:
    if what.exc_type is SystemExit:
        return
    name = what.thread.name if what.thread is not None else "?"
    error = what.exc_value if what.exc_value is not None else what.exc_type()
    log.error(
        "thread %s has ended, since nobody caught %s",
        name,
        what.exc_type.__name__,
        exc_info=(what.exc_type, error, what.exc_traceback),
    )


def _reported(what: Any) -> None:
    error = what.exc_value if what.exc_value is not None else what.exc_type()
    log.error(
        "%s %s",
        what.err_msg or "an exception was ignored in",
        _shown(what.object),
        exc_info=(what.exc_type, error, what.exc_traceback),
    )


def _shown(something: object) -> str:
    try:
        return repr(something)
    except Exception as broken:  # noqa: BLE001  # half gone, as what is being deleted may be
        return f"{type(something).__name__} (its repr raised {type(broken).__name__})"
