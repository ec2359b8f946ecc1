"""A fork of one of dueq's processes must not act as that process.

A task may fork: by ``os.fork``, ``multiprocessing``, a ``preexec_fn``. The new process begins as a copy of the worker,
its signal handlers, its title and its task included. Here it gives up what belongs to the worker, before any code of
the task runs in it; and when the task's code returns in it, it ends.

Signals are blocked during the fork. Without that, the worker's handlers could handle a signal that is meant for the
child: they only note a SIGTERM, and nothing in the child would look at the note.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

_INTERRUPTED = 128 + signal.SIGINT

_give_up: list[Callable[[], None]] = []
_is_fork = False
_mask = threading.local()


def arm() -> None:
    """From now on, let forks of this process give up what is its own. Call this once."""
    os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals_through, after_in_child=_begin_child)


def on_fork(give_up: Callable[[], None]) -> None:
    """Call ``give_up`` first of all in each process that is forked from this one."""
    _give_up.append(give_up)


def end_here(error: BaseException | None = None) -> None:
    """In a fork: end this process, as Python ends a program that ``error`` was raised in, if any. Else do nothing."""
    if _is_fork:
        try:
            status = _status(error)
            _flush()
        except BaseException:  # noqa: BLE001  # whatever the error's own code does: this process ends
            status = 1
        os._exit(status)


def _hold_signals() -> None:
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _let_signals_through() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _begin_child() -> None:
    global _is_fork
    _is_fork = True
    try:
        for each in _give_up:
            each()
    finally:
        _let_signals_through()


def _status(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not issubclass(type(error), SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)  # one line of the log, where this process has one
        return _INTERRUPTED if issubclass(type(error), KeyboardInterrupt) else 1
    code = getattr(error, "code", None)
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)  # noqa: T201  # as Python does
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, its reader is gone, or closed
            stream.flush()
