"""Whether a supervisor lives, and whether it is ready for work: what /livez and /readyz answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from .collector import Processes

STILL_S = 15.0
"""Seconds that the supervisor's loop may stand still before it counts as dead; a turn takes a second."""


class Health:
    """Written by the supervisor's loop, read by the threads of the web page."""

    def __init__(
        self,
        needed: Mapping[str, int],
        processes: Processes,
        redis_is_up: Callable[[], bool],
        refused: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """``needed`` is how many processes of each role there should be; ``refused`` are the roles to which Redis
        refuses what they need."""
        self._roles = [role for role, count in needed.items() if count]
        self._processes, self._redis_is_up, self._refused = processes, redis_is_up, refused
        self._ticked_at = time.monotonic()
        self._leaving = False

    def tick(self, *, leaving: bool) -> None:
        """The loop has come round."""
        self._ticked_at, self._leaving = time.monotonic(), leaving

    def not_live(self) -> list[str]:
        """Why it should be restarted; empty if it lives. Redis does not matter: a restart would not bring it back."""
        still = time.monotonic() - self._ticked_at
        return [f"the supervisor's loop has stood still for {still:.0f} s"] if still > STILL_S else []

    def not_ready(self) -> list[str]:
        """Why it cannot run tasks now; empty if it can."""
        counts = self._processes()
        reasons = self.not_live()
        reasons += [f"no {role} is ready" for role in self._roles if not counts.get((role, "ready"))]
        if self._leaving:
            reasons.append("it is stopping")
        reasons += [
            f"Redis refuses what a {role} needs: its log says what, dueq doctor how to allow it"
            for role in self._refused()
        ]
        if not self._redis_is_up():
            reasons.append("Redis does not answer")
        return reasons
