"""An exception that a signal handler raises is raised again if Python could only ignore it.

A signal may come while an object is finalized (``__del__``), or in a weak reference's callback. No code can catch what
is raised there, so Python reports it and goes on. An exception that was meant to end a task, or a program, would then
never end it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class Insistence:
    """Inside the ``with``, ``again`` is called if Python ignored what a handler raised by ``insist``.

    For the main thread, where handlers run.
    """

    def __init__(self, again: Callable[[], object]) -> None:
        """``again`` makes the signal come once more, a little later."""
        self._again = again
        self._hook = self._ignored  # one object, so that it can be recognised
        self._raised: BaseException | None = None

    def __enter__(self) -> None:
        self._raised = None
        if sys.unraisablehook is not self._hook:  # it may be, if an exception cut __exit__ short
            self._before, sys.unraisablehook = sys.unraisablehook, self._hook

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sys.unraisablehook is self._hook:  # else it is somebody else's hook, which may call ours
            sys.unraisablehook = self._before
        self._raised = None

    def insist(self, error: BaseException, frame: FrameType | None) -> None:
        """Raise ``error`` in the code that the signal has interrupted (``frame``). For the handler."""
        while frame is not None:
            if frame.f_code is _HOOK:  # Python ignores an error there, too, without a trace
                self._again()
                return
            frame = frame.f_back
        self._raised = error
        raise error

    def _ignored(self, what: Any) -> None:
        if self._raised is not None and what.exc_value is self._raised:
            self._again()
        else:
            self._before(what)


_HOOK = Insistence._ignored.__code__
