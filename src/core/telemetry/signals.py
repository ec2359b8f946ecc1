"""What a child of the supervisor does with signals.

Only the supervisor decides when its children end, so SIGTERM asks them to stop, and SIGINT and SIGHUP do nothing. They
are handled, not ignored, unless dueq itself was started with them ignored: programs that tasks start inherit ignored
signals, and could not be interrupted.

Tasks run in the same process, and may set handlers, timers and masks of their own, or leave them behind. What a worker
needs is set again after each task.
"""

from __future__ import annotations

# the functions of signal without their way through enums, which costs ten times as much as the system call
import _signal  # type: ignore[import-not-found]
import faulthandler
import signal
from collections.abc import Callable, Collection
from typing import Any

from ..process.stop import Stop
from .stacks import StackFile

Handler = Callable[[int, Any], Any] | int | None

_IGNORABLE = (signal.SIGINT, signal.SIGHUP)
_OTHERS = (signal.SIGCHLD, signal.SIGPIPE)  # subprocess relies on the first, writers to sockets on the second


def ignored() -> frozenset[signal.Signals]:
    """Which of SIGINT and SIGHUP this process ignores: as it was started, until it changes that."""
    return frozenset(number for number in _IGNORABLE if signal.getsignal(number) is signal.SIG_IGN)


class Signals:
    """The handlers of one process, its wake-up descriptor, and where it writes its stacks on SIGUSR1."""

    def __init__(self, stop: Stop, stacks: StackFile, ignored: Collection[signal.Signals] = ()) -> None:
        self.stop, self._stacks = stop, stacks
        self._own: dict[int, Handler] = {int(signal.SIGTERM): lambda *_: stop.request()}
        for number in _IGNORABLE:
            self._own[int(number)] = int(signal.SIG_IGN) if number in ignored else _do_nothing
        # Never called, since faulthandler's own is in its place; but it shows whether somebody has set another.
        self._own[int(signal.SIGUSR1)] = _do_nothing
        self._before: dict[int, Handler] = {}
        self._kept: tuple[tuple[int, Handler], ...] = ()
        self._mask: tuple[int, ...] = ()

    def install(self) -> None:
        """Handle signals so from now on. Call it in the main thread."""
        self.stop.wake_on_signals()
        self._before = {number: _signal.getsignal(number) for number in self._own}
        for number, handler in self._own.items():
            _signal.signal(number, handler)
        self._stacks.write_on_signal()

    def settle(self) -> None:
        """Call it once the application is loaded: how it handles other signals by now is to outlast its tasks."""
        kept = {int(number): _signal.getsignal(number) for number in _OTHERS} | self._own
        self._kept = tuple(kept.items())
        self._mask = tuple(_signal.pthread_sigmask(_signal.SIG_BLOCK, ()))
        self.renew()

    def renew(self) -> None:
        """After a task: restore what it may have changed. If that is nothing, it costs about a microsecond."""
        _signal.setitimer(_signal.ITIMER_REAL, 0)  # or its alarm would strike the next task, or end this process
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
        self.stop.wake_on_signals()
        for number, handler in self._kept:
            if _signal.getsignal(number) is not handler:
                _signal.signal(number, handler)
                if number == signal.SIGUSR1:
                    self._stacks.write_on_signal()

    def give_up(self) -> None:
        """In a fork: undo all of this, except for what the task itself has set."""
        self.stop.forget_signals()
        for number, handler in self._own.items():
            if _signal.getsignal(number) is handler:
                if number == signal.SIGUSR1:
                    faulthandler.unregister(number)
                _signal.signal(number, self._before[number])


def _do_nothing(number: int, frame: Any) -> None:
    """The supervisor alone decides."""
