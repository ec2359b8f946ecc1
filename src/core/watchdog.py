"""When a living process counts as hung: pure rules over what its tally says of its progress.

Being alive is not enough. A task has its hard timeout; the interpreter of a worker that runs one must go on running
code, or its lease is lost; every loop must come round again.
"""

from __future__ import annotations

from dataclasses import dataclass

from .tally import Tally

BOOT_S = 120.0
"""How long a process may take from its start until it does its duty or waits for Redis: imports, mostly."""

_OVERSLEPT_S = 5.0


@dataclass(frozen=True, slots=True)
class Hang:
    """Why a process is taken for hung, and whether the task that it runs is to blame."""

    why: str
    blame: bool = True


class Watchdog:
    """Looks at tallies for the supervisor. All times are monotonic seconds."""

    def __init__(self, lease: float, hang_timeout: float) -> None:
        """``hang_timeout`` is how long a loop may stand still; 0: only hard timeouts of tasks are seen to."""
        self._silence, self._hang_timeout = lease / 2, hang_timeout
        self._looked_at = 0.0
        self._lenient_until = 0.0

    def awake(self, now: float) -> None:
        """The supervisor looks around. If it slept much too long, all of the host did, and nobody is to blame."""
        if self._looked_at and now - self._looked_at > _OVERSLEPT_S:
            self._lenient_until = now + max(self._silence, self._hang_timeout)
        self._looked_at = now

    def hang(self, tally: Tally, started_at: float, now: float) -> Hang | None:
        """Why the process of ``tally`` is to be ended, None if it is in order."""
        if now < self._lenient_until:
            return None
        token, deadline = tally.token, tally.deadline
        if token and deadline and now >= deadline:
            return Hang(f"its task, token {token}, ran past its hard timeout")
        if not self._hang_timeout:
            return None
        if token:
            # Half a lease: in time before it is lost, so that what hangs in one worker does not hang in the next, too,
            # and the loss is known to be this task's.
            silent = now - tally.beaten_at
            if silent > self._silence:
                return Hang(
                    f"running its task, token {token}, it gave no sign of life for {silent:.1f} s, half a lease: the "
                    f"task does not let other threads run, or the process was stopped"
                )
            return None
        if not tally.turn_by:
            return Hang(f"it had not begun after {BOOT_S:.0f} s", blame=False) if now > started_at + BOOT_S else None
        still = now - tally.turn_by
        return Hang(f"its loop stood still for {still:.1f} s", blame=False) if still > self._hang_timeout else None

    def next_deadline(self, tally: Tally) -> float | None:
        """When the task that runs must have ended, if it must."""
        return max(tally.deadline, self._lenient_until) if tally.token and tally.deadline else None
