"""How many tasks a worker takes at once."""

from __future__ import annotations

import math

_MOST = 64
_AHEAD_S = 0.005
_FORGETS = 0.9


class Prefetch:
    """A fixed number; or 0: as many as a worker runs within 5 ms, judged by its last tasks.

    That is one, unless there is a backlog of short tasks: the number doubles with each step that finds all it wanted.
    So a task never waits long behind others in one worker while another is free.
    """

    def __init__(self, fixed: int = 0) -> None:
        self._fixed, self._size, self._seconds = fixed, 1, 0.0
        self._of: dict[str, float] = {}

    @property
    def want(self) -> int:
        """How many to have in hand."""
        if self._fixed:
            return self._fixed
        return max(1, min(self._size, int(_AHEAD_S / self._seconds) if self._seconds else _MOST))

    @property
    def all_short(self) -> bool:
        """Whether several are to be in hand, and the last tasks were all short."""
        return self.want > 1 and (not self._fixed or 0.0 < self._seconds <= _AHEAD_S)

    def is_short(self, task: str) -> bool:
        """Whether others may wait behind this task: only if it is known to be short, or if the number is fixed."""
        return bool(self._fixed) or self._of.get(task, math.inf) <= _AHEAD_S

    def ran(self, task: str, seconds: float) -> None:
        """A task took ``seconds``: a longer time counts at once, shorter times little by little."""
        self._seconds = max(seconds, self._seconds * _FORGETS)
        self._of[task] = max(seconds, self._of.get(task, 0.0) * _FORGETS)

    def found(self, taken: int, wanted: int) -> None:
        """A step that wanted ``wanted`` tasks took ``taken``."""
        self._size = min(_MOST, self._size * 2) if taken >= wanted else max(1, taken)
