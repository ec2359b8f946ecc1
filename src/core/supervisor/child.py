"""One child process: how it is started, how it is tied to its supervisor's life, and how it ends."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import setproctitle
from multiprocess import connection
from multiprocess import process as multiprocess_process

from ..client.failures import Patience
from ..config import RunOptions, Settings
from ..errors import DueqError, NamespaceTooNew, ServerRefused, ServerUnavailable, StrategyMismatch
from ..process import forks
from ..process.descriptors import read_nothing
from ..process.exit_status import ExitStatus
from ..process.lifetime import end_with_parent
from ..process.room import wants_room
from ..process.state_lock import StateLock
from ..process.stop import Stop
from ..process.uncaught import log_what_nobody_catches
from ..telemetry import log_output, logs
from ..telemetry.counters import Counters
from ..telemetry.signals import Signals
from ..telemetry.stacks import StackFile
from ..worker.watch import WatchPage
from .first_words import FirstWords
from .leaving import leave
from .roles import BUILDERS, Duty
from .spawning import Spawned

log = logging.getLogger("dueq.process")

# These would end a process that has no handlers for them yet.
_HELD_BACK = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """A process that is started here gets those signals only when it unblocks them: a mask outlasts ``exec``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)


@dataclass(frozen=True)
class Order:
    """All that a child needs to know. ``lifeline`` is the end of a pipe whose other end only the supervisor holds."""

    role: str
    name: str
    settings: Settings
    options: RunOptions
    counters: Counters
    stacks: StackFile
    first_words: FirstWords
    lifeline: Any
    supervisor_pid: int
    page: WatchPage
    ignored: frozenset[signal.Signals] = frozenset()
    """Signals that dueq was started ignoring; the programs that its tasks start ignore them, too."""
    lock: StateLock | None = None
    """Every process of the supervisor holds it."""


class Child:
    """A child process, seen from its supervisor."""

    def __init__(
        self,
        role: str,
        name: str,
        settings: Settings,
        options: RunOptions,
        page: WatchPage,
        ignored: frozenset[signal.Signals] = frozenset(),
        lock: StateLock | None = None,
    ) -> None:
        """Start it; ``ignored`` are the signals that programs of its tasks are to ignore. It holds ``lock`` while it
        lives. All workers of the supervisor share ``page``.

        Raises OSError or MemoryError if there is no room for it; nothing is left of it then.
        """
        self.role, self.name = role, name
        with contextlib.ExitStack() as undo:
            self.counters = undo.enter_context(contextlib.closing(Counters()))
            self._stacks = undo.enter_context(contextlib.closing(StackFile()))
            self._first_words = undo.enter_context(contextlib.closing(FirstWords()))
            theirs, self._lifeline = (undo.enter_context(end) for end in connection.Pipe(duplex=False))
            shared = (self.counters, self._stacks, self._first_words, theirs)
            order = Order(role, name, settings, options, *shared, os.getpid(), page, ignored, lock)
            self._process = Spawned(main, (order,), f"dueq-{role}", self._first_words)
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

    def first_words(self) -> str:
        """What it wrote to stderr before it could log, as one line; empty if that was nothing, or is in the log."""
        return self._first_words.read()

    def abandon(self) -> None:
        """Do not wait for it at this program's end, as multiprocess does: it may never end."""
        multiprocess_process._children.discard(self._process)

    def close(self) -> None:
        """Close what the supervisor kept for a process that is gone, but for its counters: their reader closes them."""
        self._process.join()
        self._process.close()
        self._lifeline.close()
        self._stacks.close()
        self._first_words.close()


def main(order: Order) -> None:
    """The main function of every child. It does not return, unless it fails before the log is there."""
    with order.first_words.over() as written:
        logs.set_up(order.options.log_format, role=order.role, strategy=order.settings.strategy or "")
        log_output.count_dropped(order.counters.counter("dueq_log_lines_dropped_total").inc)
        log_what_nobody_catches()
    if written:
        log.warning("written to stderr while this %s began: %s", order.role, written)
    leave(_status(order))


def _status(order: Order) -> int:
    try:
        return _lived(order)
    except BaseException as error:
        if order.counters.state == "booting" and wants_room(error):
            log.warning("this %s cannot begin: %s", order.role, error)
            return ExitStatus.NO_ROOM
        log.critical("this %s ends, since nobody caught %s", order.role, type(error).__name__, exc_info=error)
        return ExitStatus.FAILED


def _lived(order: Order) -> int:
    """Do what the process is for; returns its exit status."""
    _part_from_terminal()
    _die_with(order)
    stop = Stop()
    signals = Signals(stop, order.stacks, order.ignored)
    signals.install()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
    setproctitle.setproctitle(f"dueq: {order.role} {order.settings.namespace}")
    forks.on_fork(signals.give_up)
    if order.lock is not None:
        forks.on_fork(order.lock.let_go)
    forks.on_fork(lambda: setproctitle.setproctitle(f"dueq: child of a task, {order.settings.namespace}"))
    forks.arm()
    return _served(order, signals)


def _part_from_terminal() -> None:
    """Leave the terminal. Ctrl-C, and the end of the terminal, signal its foreground, and must not end tasks or the
    programs that they start.

    The process gets a session of its own. If it only left the foreground, the kernel would stop it when it reads from
    the terminal.
    """
    with contextlib.suppress(PermissionError):  # it leads a group already
        os.setsid()
    read_nothing()


def _served(order: Order, signals: Signals) -> int:
    """Do the duty until it ends; returns the exit status."""
    try:
        status = _serve(order, signals)
    except (StrategyMismatch, NamespaceTooNew) as error:
        log.error("this %s stops: %s", order.role, error)
        status = ExitStatus.DISPLACED
    except _CannotBegin:
        return ExitStatus.BOOT_FAILED
    order.counters.state = "draining"  # marks the status as dueq's own: a task may end its worker with the same status
    return status


def _serve(order: Order, signals: Signals) -> int:
    """Do the duty until asked to stop; returns the exit status.

    Raises StrategyMismatch as soon as another strategy owns the namespace, NamespaceTooNew if a newer dueq does,
    _CannotBegin if there is nothing to do.
    """
    try:
        duty = _begin(order, signals)
    except (StrategyMismatch, NamespaceTooNew):
        raise
    except (Exception, SystemExit) as error:  # an application may well exit where its settings are wrong
        if wants_room(error):
            raise
        # what failed here would fail again: the supervisor stops for this reason
        log.error("this %s cannot begin: %s", order.role, error, exc_info=not isinstance(error, DueqError))
        raise _CannotBegin from None
    if duty is None:
        return ExitStatus.STOPPED
    logs.share_with_app()
    signals.settle()
    gc.collect()
    gc.freeze()  # the objects of now stay, and collecting garbage among them again and again costs milliseconds
    order.counters.turn()
    order.counters.state = "ready"
    return duty.run()


class _CannotBegin(Exception):
    """The child cannot begin; the log says why already."""


def _begin(order: Order, signals: Signals) -> Duty | None:
    """The child's duty, as soon as Redis can be reached; None if asked to stop before."""
    patience, stop = Patience(), signals.stop
    while not stop.requested:
        try:
            return BUILDERS[order.role](order.name, order.settings, order.options, order.counters, signals, order.page)
        except (ServerUnavailable, ServerRefused) as error:
            if patience.failures == 0:
                log.warning("waiting for Redis: %s", error)
            seconds = patience.failed()
            order.counters.turn(seconds)
            stop.sleep(seconds)
    return None


def _die_with(order: Order) -> None:
    """End this process with its supervisor, however that ends."""
    end_with_parent()
    threading.Thread(target=_watch, args=(order.lifeline,), name="lifeline", daemon=True).start()
    if os.getppid() != order.supervisor_pid:  # it died before the lines above took hold
        os._exit(1)


def _watch(lifeline: Any) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os.kill(os.getpid(), signal.SIGKILL)
