"""The end of a process that ran an application's code: as Python ends a program, but within a second.

Python waits for threads, runs the functions registered with ``atexit``, ends the daemon children of multiprocessing and
waits for the others. Any of that may last for ever, and the process would count as hung. So what has not ended in time
is named in the log, and left behind.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

log = logging.getLogger("dueq.process")

_THREADS_S, _ALL_S = 0.4, 0.9
_FORKING = ("multiprocessing.process", "multiprocess.process")  # two modules that know nothing of one another
_MOST_NAMED = 10


def leave(status: int) -> NoReturn:
    """End this process with ``status``. Call it in the main thread, once all of dueq's own work is done."""
    end = time.monotonic() + _ALL_S
    with contextlib.suppress(
        RuntimeError
    ):  # no room for a thread: the supervisor ends this process when its time is up
        threading.Thread(target=_cut_short, args=(status, end), name="leaving", daemon=True).start()
    parts: list[Callable[[], object]] = [
        lambda: _wait_for_threads(end - _ALL_S + _THREADS_S),
        _set_aside_children,
        atexit._run_exitfuncs,
    ]
    for part in parts:
        try:
            part()
        except BaseException as error:  # noqa: BLE001  # threads and children may be of other people's classes
            _warn("an error came up while this process waited for what its tasks have left", exc_info=error)
    _end(status)


def _wait_for_threads(end: float) -> None:
    # first the functions that pools of threads have registered: these end their idle threads
    helper = threading.Thread(target=_run_threading_atexits, daemon=True)
    with contextlib.suppress(RuntimeError):
        helper.start()
        helper.join(max(0.0, end - time.monotonic()))
    for thread in _others():
        thread.join(max(0.0, end - time.monotonic()))
    if left := _others():
        _warn("%s still at work: left behind", _named("thread", (thread.name for thread in left)))


def _run_threading_atexits() -> None:
    for call in reversed(getattr(threading, "_threading_atexits", ())):
        with contextlib.suppress(Exception):
            call()


def _others() -> list[threading.Thread]:
    """The threads that Python waits for at the end of a program."""
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if thread is not main and not thread.daemon]


def _set_aside_children() -> None:
    """Keep multiprocessing from waiting for those children that it would not end itself."""
    left = []
    for children, child in _children():
        if not child.daemon and child.is_alive():
            children.discard(child)
            left.append(f"{child.name} ({child.pid})")
    if left:
        _warn("%s not daemons and still at work: left behind", _named("child process", left))


def _children() -> Iterator[tuple[set[Any], Any]]:
    for name in _FORKING:
        if (module := sys.modules.get(name)) is not None:
            children: set[Any] = module._children
            for child in list(children):
                yield children, child


def _cut_short(status: int, end: float) -> None:
    time.sleep(max(0.0, end - time.monotonic()))
    _warn("atexit functions or child processes have not ended within %.1f s: left behind", _ALL_S)
    for _, child in _children():
        if child.daemon and child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
    _end(status)


def _warn(text: str, *arguments: object, exc_info: BaseException | None = None) -> None:
    with contextlib.suppress(Exception):  # a handler of the application's, a stream that a task has closed
        log.warning(text, *arguments, exc_info=exc_info)


def _end(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
            stream.flush()
    os._exit(status)


def _named(what: str, names: Iterable[str]) -> str:
    named = sorted(names)
    shown = ", ".join(named[:_MOST_NAMED]) + (
        f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    )
    plural = what if len(named) == 1 else f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{len(named)} {plural} ({shown}) {'is' if len(named) == 1 else 'are'}"
