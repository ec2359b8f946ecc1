"""One child process: how it is started, how it is tied to its supervisor's life, and what it says on its way out."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import multiprocess
import setproctitle

from . import log_output, logs
from .config import RunOptions, Settings
from .connection import Patience
from .errors import DueqError, NamespaceTooNew, ServerRefused, ServerUnavailable, StrategyMismatch
from .lifetime import end_with_parent
from .roles import BUILDERS, Duty
from .room import wants_room
from .stacks import StackFile
from .statuses import BOOT_FAILED, DISPLACED, NO_ROOM, STOPPED
from .stop import Stop
from .tally import Tally
from .uncaught import log_what_nobody_catches

log = logging.getLogger("dueq.process")

# A fresh interpreter per child: a fork would copy the supervisor's threads' locks and its Redis connections.
_spawn = multiprocess.get_context("spawn")


# These would end a process that has not got so far as to say what it does with them.
_HELD_BACK = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """What is started here gets those signals only once it lets them through: a mask outlasts ``exec``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)


@dataclass(frozen=True)
class Order:
    """All that a child is told. ``lifeline`` is the end of a pipe whose other end only the supervisor holds."""

    role: str
    name: str
    settings: Settings
    options: RunOptions
    tally: Tally
    stacks: StackFile
    lifeline: Any
    supervisor_pid: int


class Child:
    """A child process, seen from its supervisor."""

    def __init__(self, role: str, name: str, settings: Settings, options: RunOptions) -> None:
        """Start it. Raises OSError or MemoryError if there is no room for it; nothing is left of it then."""
        self.role, self.name = role, name
        with contextlib.ExitStack() as undo:
            self.tally = undo.enter_context(contextlib.closing(Tally()))
            self._stacks = undo.enter_context(contextlib.closing(StackFile()))
            theirs, self._lifeline = (undo.enter_context(end) for end in _spawn.Pipe(duplex=False))
            order = Order(role, name, settings, options, self.tally, self._stacks, theirs, os.getpid())
            self._process = _spawn.Process(target=main, args=(order,), name=f"dueq-{role}", daemon=False)
            with _held_back():
                self._process.start()
            undo.pop_all()
        self.pid = int(self._process.pid)
        theirs.close()

    @property
    def sentinel(self) -> int:
        """A file descriptor that is readable once the process is gone."""
        return int(self._process.sentinel)

    def exit_code(self) -> int | None:
        """None while it lives, else its exit status, or minus the signal that killed it."""
        code: int | None = self._process.exitcode
        return code

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it is there still."""
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stacks(self, *, over: bool = False) -> str:
        """What its threads were doing at each SIGUSR1 since the last call, as one line; empty if there was none.

        ``over``: it is gone, so that it cannot be writing just now.
        """
        return self._stacks.read(over=over)

    def abandon(self) -> None:
        """Do not wait for it at this program's end, as multiprocess does: it may never end."""
        multiprocess.process._children.discard(self._process)

    def close(self) -> None:
        """Give back what the supervisor kept for a process that is gone; its tally is closed by whoever reads it."""
        self._process.join()
        self._process.close()
        self._lifeline.close()
        self._stacks.close()


def main(order: Order) -> None:
    """The main function of every child."""
    logs.set_up(order.options.log_format, role=order.role, strategy=order.settings.strategy or "")
    log_output.count_dropped(order.tally.counter("dueq_log_lines_dropped_total").inc)
    log_what_nobody_catches()
    try:
        _main(order)
    except Exception as error:
        if order.tally.state == "booting" and wants_room(error):
            log.warning("this %s cannot begin: %s", order.role, error)
            sys.exit(NO_ROOM)
        log.critical("this %s ends, since nobody caught %s", order.role, type(error).__name__, exc_info=True)
        sys.exit(1)
    finally:
        # nothing is left to be stopped, and this status is to be the last word: the handler ends with the interpreter
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _main(order: Order) -> None:
    order.stacks.write_on_signal()
    _die_with(order)
    stop = Stop()
    stop.wake_on_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor alone decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # to the whole group when a terminal closes, to reload when meant
    signal.signal(signal.SIGTERM, lambda *_: stop.request())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
    setproctitle.setproctitle(f"dueq: {order.role} {order.settings.namespace}")
    try:
        status = _serve(order, stop)
    except (StrategyMismatch, NamespaceTooNew) as error:
        order.tally.state = "draining"
        log.error("this %s stops: %s", order.role, error)
        sys.exit(DISPLACED)
    order.tally.state = "draining"  # tells a status of ours from the same one that a task ended its worker with
    sys.exit(status)


def _serve(order: Order, stop: Stop) -> int:
    """Do the duty until asked to stop; returns the exit status.

    Raises StrategyMismatch as soon as another strategy keeps the namespace, NamespaceTooNew if a newer dueq does.
    """
    try:
        duty = _begin(order, stop)
    except (StrategyMismatch, NamespaceTooNew):
        raise
    except (Exception, SystemExit) as error:  # an application may well exit where its settings are wrong
        if wants_room(error):
            raise
        # what failed here would fail again: the supervisor stops for this reason
        log.error("this %s cannot begin: %s", order.role, error, exc_info=not isinstance(error, DueqError))
        sys.exit(BOOT_FAILED)
    if duty is None:
        return STOPPED
    logs.share_with_app()
    gc.collect()
    gc.freeze()  # what is there by now stays, and looking through all of it again and again costs milliseconds
    order.tally.turn()
    order.tally.state = "ready"
    return duty.run()


def _begin(order: Order, stop: Stop) -> Duty | None:
    """The child's duty, as soon as Redis can be reached; None if asked to stop before."""
    patience = Patience()
    while not stop.requested:
        try:
            return BUILDERS[order.role](order.name, order.settings, order.options, order.tally, stop)
        except (ServerUnavailable, ServerRefused) as error:
            if patience.failures == 0:
                log.warning("waiting for Redis: %s", error)
            seconds = patience.failed()
            order.tally.turn(seconds)
            stop.sleep(seconds)
    return None


def _die_with(order: Order) -> None:
    """See to it that this process does not outlive its supervisor, however that ends."""
    end_with_parent()
    threading.Thread(target=_watch, args=(order.lifeline,), name="lifeline", daemon=True).start()
    if os.getppid() != order.supervisor_pid:  # it died before the lines above took hold
        os._exit(1)


def _watch(lifeline: Any) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os.kill(os.getpid(), signal.SIGKILL)
