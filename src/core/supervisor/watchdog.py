"""When a living process counts as hung: pure rules over the progress in its counters.

Being alive is not enough. A task has its hard timeout; the interpreter of a worker that runs a task must go on running
code, or the lease is lost; every loop must come round again.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..telemetry.counters import Counters

BOOT_S = 120.0
"""Seconds from a process's start in which it must do its duty or wait for Redis: imports, mostly."""

_OVERSLEPT_S = 5.0


@dataclass(frozen=True, slots=True)
class Hang:
    """Why a process counts as hung, and which task is to blame."""

    why: str
    token: int = 0
    """The token of the task that is to blame; 0: none is."""


class Watchdog:
    """Looks at the counters of processes for the supervisor. All times are monotonic seconds."""

    def __init__(self, lease: float, hang_timeout: float) -> None:
        """``hang_timeout`` is how long a loop may stand still; 0: only hard timeouts of tasks count."""
        self._silence, self._hang_timeout = lease / 2, hang_timeout
        self._overslept = min(_OVERSLEPT_S, self._silence / 2)
        self._asleep_since: float | None = None
        self._lenient_until = 0.0

    def asleep(self, now: float) -> None:
        """The supervisor goes to sleep, for a tick at most."""
        self._asleep_since = now

    def awake(self, now: float) -> None:
        """The supervisor wakes. If it slept much too long, the whole host stood still, and no process is to blame."""
        slept = 0.0 if self._asleep_since is None else now - self._asleep_since
        if slept > self._overslept:
            # the other processes are late by as much, and their next sign of life takes a moment
            self._lenient_until = now + max(self._silence, min(slept, self._hang_timeout))
        self._asleep_since = None

    def hang(self, counters: Counters, started_at: float, now: float) -> Hang | None:
        """Why the process of ``counters`` is to be ended, None if it is in order."""
        if counters.damaged:
            return Hang("something was written over its page of counters, which tell whether it does its work")
        if now < self._lenient_until:
            return None
        token, deadline = counters.token, counters.deadline
        if token and deadline and now >= deadline:
            return Hang(f"its task, token {token}, ran past its hard timeout", token)
        if not self._hang_timeout:
            return None
        if token:
            # Half a lease: in time before the lease is lost, so that a task that hangs one worker does not hang the
            # next, too, and the loss is known to be this task's.
            silent = now - counters.beaten_at
            if silent > self._silence:
                return Hang(
                    f"running its task, token {token}, it gave no sign of life for {silent:.1f} s, half a lease: the "
                    f"task does not let other threads run, or the process was stopped",
                    token,
                )
            return None
        if not counters.turn_by:
            return Hang(f"it had not begun after {BOOT_S:.0f} s") if now > started_at + BOOT_S else None
        still = now - counters.turn_by
        return Hang(f"its loop stood still for {still:.1f} s") if still > self._hang_timeout else None

    def next_deadline(self, counters: Counters) -> float | None:
        """When the task that runs must have ended, if it must."""
        return max(counters.deadline, self._lenient_until) if counters.token and counters.deadline else None
