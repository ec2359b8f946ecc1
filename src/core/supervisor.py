"""The supervisor: keeps the wanted number of children of each role alive.

Each turn of its loop does the same in the same order: heed signals, bury the dead, start what is missing, give back
what the dead held. Signal handlers only note that they were called. It sends Redis nothing while nothing happens.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from multiprocess.connection import wait

from .config import RunOptions, Settings
from .errors import BootFailure, RestartLimitExceeded
from .exposition import Board
from .keys import unique_name
from .process import BOOT_FAILED, DISPLACED, Child
from .recovery import Recovery
from .restarts import RestartBackoff, RestartLimit
from .stop import Stop

log = logging.getLogger("dueq.supervisor")

_KILL_GRACE_S = 5.0  # what a child has to exit in after its drain time, before SIGKILL; also for SIGKILL to be seen

Spawn = Callable[[str, str], Child]


@dataclass
class Slot:
    """A place for one child. ``start_at`` is when an empty one is to be filled, in monotonic seconds."""

    role: str
    child: Child | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    backoff: RestartBackoff = field(default_factory=RestartBackoff)


class Supervisor:
    """See the module. ``run`` returns when asked to stop and all children are gone."""

    def __init__(
        self,
        settings: Settings,
        options: RunOptions,
        board: Board,
        recovery: Recovery,
        stop: Stop,
        *,
        spawn: Spawn | None = None,
        on_ready: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options, self._board, self._recovery, self._stop = options, board, recovery, stop
        self._spawn: Spawn = spawn or (lambda role, name: Child(role, name, settings, options))
        self._on_ready, self._clock = on_ready, clock
        counts = {"worker": options.workers, "dispatcher": options.dispatchers, "reaper": 1}
        self._slots = [Slot(role) for role, count in counts.items() for _ in range(count)]
        self._limits = {
            role: RestartLimit(options.max_restarts * count, options.restart_window) for role, count in counts.items()
        }
        self._hurried = False
        self._ready = False

    def hurry(self) -> None:
        """Called from a signal handler: stop; called again: kill."""
        self._hurried = self._stop.requested
        self._stop.request()

    def run(self) -> None:
        """Supervise until asked to stop, then drain.

        Raises BootFailure if a child cannot begin or its strategy does not keep the namespace any more,
        RestartLimitExceeded if they die too often; all children are gone by then.
        """
        try:
            while not self._stop.requested:
                self._wait(self.turn(), self._stop)
        finally:
            self._drain()

    def turn(self) -> float | None:
        """One round of duties; returns seconds until the next is due by the clock, None if only events matter."""
        self._bury_the_dead()
        start_in = self._start_the_missing()
        recovery_in = self._recovery.run_once()
        self._tell_when_ready()
        due = [seconds for seconds in (recovery_in, start_in) if seconds is not None]
        if not self._ready:
            due.append(0.02)
        return min(due) if due else None

    # -- duties

    def _bury_the_dead(self) -> None:
        for slot in self._slots:
            if slot.child is not None and slot.child.exit_code() is not None:
                self._bury(slot, slot.child)

    def _bury(self, slot: Slot, child: Child) -> None:
        code = child.exit_code()
        assert code is not None
        slot.child = None
        # a task that outlasts the drain time is killed by us: that is not held against it
        self._recovery.add(child.role, child.name, blame=not self._stop.requested)
        name, pid = child.role, child.pid
        booted = self._ready or child.tally.state != "booting"
        displaced = code == DISPLACED and child.tally.state == "draining"  # not so if a task ended its worker with it
        child.close()
        self._board.retire(child.tally)
        if self._stop.requested:
            return
        if code == BOOT_FAILED and not booted:
            raise BootFailure(f"a {name} could not begin its work; its reason is in the log above")
        if displaced:
            raise BootFailure(
                f"another strategy keeps the namespace now, so this {name} and all others end (see the log above): "
                f"start dueq run again, without the old --strategy"
            )
        now = self._clock()
        delay = slot.backoff.delay(now - slot.started_at)
        slot.start_at = now + delay
        cause = "signal" if code < 0 else "exit"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        log.warning("%s %d %s; starting another%s", name, pid, how, f" in {delay:.1f} s" if delay else "")
        self._board.own.counter("dueq_process_restarts_total", role=name, cause=cause).inc()
        if not self._limits[name].note(now):
            raise RestartLimitExceeded(
                f"{name} processes died more than {self._limits[name].most} times in "
                f"{self._options.restart_window:.0f} s, the last one {how}: see the log above for why, or raise "
                f"--max-restarts"
            )

    def _start_the_missing(self) -> float | None:
        now = self._clock()
        later: list[float] = []
        for slot in self._slots:
            if slot.child is None:
                if slot.start_at <= now:
                    self._start(slot, now)
                else:
                    later.append(slot.start_at - now)
        return min(later) if later else None

    def _start(self, slot: Slot, now: float) -> None:
        child = self._spawn(slot.role, unique_name(slot.role))
        slot.child, slot.started_at = child, now
        self._board.adopt(child.tally, slot.role)

    def _tell_when_ready(self) -> None:
        if not self._ready and all(
            slot.child is not None and slot.child.tally.state != "booting" for slot in self._slots
        ):
            self._ready = True
            self._on_ready()

    # -- the end

    def _drain(self) -> None:
        """Let running tasks finish; then, or when hurried, kill. What is not finished is given back."""
        self._stop.request()
        for child in self._children():
            child.tally.state = "draining"
            child.send(signal.SIGTERM)
        self._bury_until(self._clock() + self._options.drain_timeout, lambda: self._hurried)
        left = list(self._children())
        for child in left:
            child.send(signal.SIGKILL)
        if left:
            log.warning("killed %d children that were still busy; what they ran will run again", len(left))
        self._bury_until(self._clock() + _KILL_GRACE_S, lambda: False)
        self._settle_up()

    def _bury_until(self, deadline: float, cut_short: Callable[[], bool]) -> None:
        while list(self._children()) and (left := deadline - self._clock()) > 0 and not cut_short():
            self._wait(min(left, 0.1))
            self._bury_the_dead()

    def _settle_up(self) -> None:
        deadline = self._clock() + _KILL_GRACE_S
        while (again_in := self._recovery.run_once()) is not None:
            if self._clock() + again_in > deadline or self._hurried:
                log.warning("Redis is away: what the workers held is taken back when their leases run out")
                return
            time.sleep(again_in)

    def _children(self) -> Iterable[Child]:
        return (slot.child for slot in self._slots if slot.child is not None)

    def _wait(self, seconds: float | None, *also: Stop) -> None:
        wait([*(child.sentinel for child in self._children()), *also], seconds)
        self._stop.forget_wakeups()
