"""When a dead child is started again, and when not any more. Pure bookkeeping: callers pass the time in seconds."""

from __future__ import annotations

import random
from collections import deque


class RestartLimit:
    """Restart intensity, after Erlang/OTP's supervisors: at most ``most`` restarts within ``window`` seconds."""

    def __init__(self, most: int, window: float) -> None:
        self.most, self.window = most, window
        self._restarts: deque[float] = deque()

    def note(self, now: float) -> bool:
        """Note a restart; False if it is one too many."""
        self._restarts.append(now)
        while self._restarts[0] <= now - self.window:
            self._restarts.popleft()
        return len(self._restarts) <= self.most


class RestartBackoff:
    """The delay before a slot's next start: none after a long life, else doubling from 0.1 to 5 seconds.

    With jitter as in ``policy.Backoff``: children that died together are not started together.
    """

    FIRST, MOST, LONG_LIFE = 0.1, 5.0, 2.0

    def __init__(self) -> None:
        self._deaths_in_a_row = 0

    def delay(self, lived: float, draw: float | None = None) -> float:
        """Seconds to wait now that a child has died after ``lived`` seconds; ``draw`` is in [0, 1)."""
        if lived >= self.LONG_LIFE:
            self._deaths_in_a_row = 0
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row == 1:
            return 0.0
        full = min(self.MOST, self.FIRST * 2.0 ** min(self._deaths_in_a_row - 2, 10))
        return full * (0.5 + 0.5 * (random.random() if draw is None else draw))
