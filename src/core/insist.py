"""An exception that a signal handler raises is raised again if Python could only ignore it.

A signal may come while an object is finalized (``__del__``), or in a weak reference's callback. Nobody can catch what
is raised there, so Python reports it and goes on. What was meant to end a task, or a program, would then never end it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any


class Insistence:
    """Inside the ``with``, ``again`` is called when ``raised`` was ignored. For the main thread, where handlers run."""

    def __init__(self, again: Callable[[], object]) -> None:
        """``again`` has to see to it that the signal comes once more, later: it is itself called where nothing can be
        raised."""
        self._again = again
        self._hook = self._ignored  # one object, so that it is known again
        self.raised: BaseException | None = None
        """What the handler has raised last."""

    def __enter__(self) -> None:
        self.raised = None
        if sys.unraisablehook is not self._hook:  # it is, if what was raised left by way of __exit__ before its end
            self._before, sys.unraisablehook = sys.unraisablehook, self._hook

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sys.unraisablehook is self._hook:  # else somebody else's, who may call ours
            sys.unraisablehook = self._before
        self.raised = None

    def _ignored(self, what: Any) -> None:
        if self.raised is not None and what.exc_value is self.raised:
            self._again()
        else:
            self._before(what)
