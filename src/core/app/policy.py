"""When a failed task is tried again, and how long one may run: small pure values."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import ClassVar

from ..errors import ConfigurationError

LONGEST_S = 100 * 365 * 86_400
"""No wait of a task may be longer: a hundred years, in seconds."""


def _number(name: str, value: object, example: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigurationError(f"{name} is {value!r}, but must be a finite number of seconds: write {example}")


def check_seconds(name: str, seconds: float) -> float:
    """Return ``seconds`` if something may last so long. Raises ConfigurationError."""
    _number(name, seconds, f"{name}=60")
    if not 0 < seconds <= LONGEST_S:
        raise ConfigurationError(f"{name} is {seconds}, but must be above 0 and at most {LONGEST_S} seconds")
    return seconds


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter, in seconds: ``first``, then times ``factor`` each, at most ``most``.

    The wait is drawn evenly between half of that and all of it ("equal jitter" in Marc Brooker's "Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015): tasks that failed together do not come back together, and none at once.
    """

    first: float = 1.0
    factor: float = 2.0
    most: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("first", "factor", "most"):
            _number(f"Backoff({name}=…)", getattr(self, name), "Backoff(first=1, factor=2, most=3600)")
        if self.first < 0 or self.factor < 1 or self.most < self.first or self.most > LONGEST_S:
            raise ConfigurationError(
                f"{self!r}: needs first >= 0, factor >= 1, most >= first and most <= {LONGEST_S} (seconds)"
            )

    def delay(self, retries_used: int, draw: float | None = None) -> float:
        """Seconds to wait after the failure that follows ``retries_used`` retries; ``draw`` is in [0, 1)."""
        try:
            full = min(self.most, self.first * self.factor**retries_used)
        except OverflowError:
            full = self.most
        return full * (0.5 + 0.5 * (random.random() if draw is None else draw))


@dataclass(frozen=True, slots=True)
class Failures:
    """What becomes of a task that raises: how often it is tried again, when, and for which errors.

    An error of ``bury_for`` makes it a dead letter at once; so does any that is not of ``retry_for``, if that is given.
    Subclasses count.
    """

    retries: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    retry_for: tuple[type[BaseException], ...] | None = None
    bury_for: tuple[type[BaseException], ...] = ()

    def may_retry(self, kind: type[BaseException]) -> bool:
        """Whether another try is wanted after an error of this class, if there are retries left."""
        kinds = type.__dict__["__mro__"].__get__(kind)  # not issubclass: a metaclass may override that
        if any(kind in kinds for kind in self.bury_for):
            return False
        return self.retry_for is None or any(kind in kinds for kind in self.retry_for)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a task may run, in seconds, until it is asked to end (``soft``) and until it is killed (``hard``).

    None: for ever; but a hard timeout comes ``GRACE`` seconds after a soft one that stands alone.
    """

    soft: float | None = None
    hard: float | None = None

    GRACE: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        for name, seconds in (("soft", self.soft), ("hard", self.hard)):
            if seconds is not None:
                check_seconds(f"{name}_timeout", seconds)
        if self.soft is not None and self.hard is None:
            object.__setattr__(self, "hard", self.soft + self.GRACE)
        if self.soft is not None and self.hard is not None and self.hard <= self.soft:
            raise ConfigurationError(
                f"hard_timeout is {self.hard:g} s, but must be longer than soft_timeout, {self.soft:g} s: it is for "
                f"tasks that do not end when asked to"
            )
