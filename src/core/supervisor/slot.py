"""A slot of the supervisor: the place for one child of a role, the child in it, and one that is about to take over."""

from __future__ import annotations

import math
import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..telemetry.counters import Counters
from .restarts import RestartBackoff

Cause = Literal["hung", "recycled", "stopped"]


class Process(Protocol):
    """What the supervisor needs of a child process; ``child.Child`` is one."""

    role: str
    name: str
    counters: Counters

    @property
    def pid(self) -> int: ...

    @property
    def sentinel(self) -> int: ...

    def exit_code(self) -> int | None: ...

    def send(self, number: signal.Signals) -> None: ...

    def stacks(self, *, over: bool = False) -> str: ...

    def first_words(self) -> str: ...

    def abandon(self) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Ending:
    """Why a child is made to end, and the signals for that, each at its time (monotonic seconds)."""

    cause: Cause
    how: str
    blame: bool
    steps: deque[tuple[float, signal.Signals]]
    token: int = 0
    """The token of the task that is to blame for the hang; 0: none."""


@dataclass(slots=True)
class Member:
    """A child at work, since ``started_at``; with an ``ending`` once it is to go."""

    child: Process
    started_at: float
    ending: Ending | None = None

    @property
    def booting(self) -> bool:
        return self.child.counters.state == "booting"

    @property
    def state(self) -> str:
        """The state in the child's counters; ``draining`` once they are closed, since the child is gone."""
        try:
            return self.child.counters.state
        except ValueError:  # its memory has been given back
            return "draining"

    @property
    def watched(self) -> bool:
        """Whether it can be found hung. Of one that is on its way out, only the task that it still runs matters."""
        if self.ending is None:
            return True
        return self.ending.cause != "hung" and bool(self.ending.steps) and bool(self.child.counters.token)

    def end(
        self, cause: Cause, how: str, *steps: tuple[float, signal.Signals], blame: bool = False, token: int = 0
    ) -> None:
        """Make it end by these signals, whatever was planned for it before."""
        self.ending = Ending(cause, how, blame, deque(steps), token)

    def spare(self) -> None:
        """If the task that was to blame has ended after all, let the child go on, or stop if SIGTERM was sent.

        Otherwise its next task would be killed, and blamed.
        """
        ending = self.ending
        if ending is None or not ending.token or not ending.steps or self.child.counters.token == ending.token:
            return
        if any(number is signal.SIGTERM for _, number in ending.steps):  # not sent yet
            self.ending = None
        else:
            self.end(
                "recycled", "its task had ended after all, but it had been asked to stop", (math.inf, signal.SIGKILL)
            )

    def send_what_is_due(self, now: float) -> None:
        """Send those signals whose time has come."""
        while self.ending is not None and self.ending.steps and self.ending.steps[0][0] <= now:
            _, number = self.ending.steps.popleft()
            if number is signal.SIGTERM and not self.booting:  # it matters whether it was ever ready
                self.child.counters.state = "draining"
            self.child.send(number)

    def next_step(self) -> float | None:
        """When the next signal is due."""
        return self.ending.steps[0][0] if self.ending is not None and self.ending.steps else None


@dataclass(slots=True)
class Slot:
    """``start_at`` is when an empty slot is to be filled. ``successor`` takes over from ``member`` once it is ready.

    ``later``: others have a head start, and it is not to be filled yet.
    """

    role: str
    member: Member | None = None
    successor: Member | None = None
    start_at: float = 0.0
    later: bool = False
    backoff: RestartBackoff = field(default_factory=RestartBackoff)

    def members(self) -> Iterator[Member]:
        if self.member is not None:
            yield self.member
        if self.successor is not None:
            yield self.successor

    def leave(self, member: Member) -> bool:
        """``member`` is gone; a successor takes its place. True if ``member`` was the successor itself."""
        if member is self.successor:
            self.successor = None
            return True
        self.member, self.successor = self.successor, None
        return False
