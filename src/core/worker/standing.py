"""How sure a worker can be that the tasks it holds are its own: the states that docs/architecture.md draws.

``TRUSTED``: Redis has heard of the worker within half a lease, so nobody can have taken what it holds; a held task
begins before Redis has replied. ``WAITING``: that time is over; a held task begins when the reply is there. ``UNSURE``:
a reply is lost, or something was taken from the worker; nothing begins until what is in doubt is settled and what is
held was given back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto


class Trust(Enum):
    """Whether a held task may begin before Redis has replied, only after that, or not at all."""

    TRUSTED = auto()
    WAITING = auto()
    UNSURE = auto()


class Standing:
    """The standing of one worker with Redis. Times are monotonic seconds."""

    def __init__(self, lease: float) -> None:
        self.window_s = lease / 2
        """Nobody takes what the worker holds for this long after a step of it was sent."""
        self.start_window_s = lease / 6
        """For so long after the step that started it, a task may begin: the rest of its lease is time enough to extend
        it, and for the supervisor to notice that the worker has fallen silent."""
        self.unsure = False
        self._trusted_until = 0.0

    def trust(self) -> Trust:
        if self.unsure:
            return Trust.UNSURE
        return Trust.TRUSTED if time.monotonic() < self._trusted_until else Trust.WAITING

    def heard(self, sent_at: float) -> None:
        """Redis has done a step that was sent at ``sent_at``, and all was as expected."""
        if not self.unsure:
            self._trusted_until = sent_at + self.window_s

    def doubted(self) -> None:
        """A reply is lost, or counts claims that the worker does not know of."""
        self.unsure = True

    def robbed(self) -> None:
        """Something was taken from the worker, so anything may have been."""
        self._trusted_until, self.unsure = 0.0, True

    @property
    def was_robbed(self) -> bool:
        """Whether something was taken from the worker, so that any of its tasks may have run elsewhere."""
        return self._trusted_until == 0.0

    def made_sure(self) -> None:
        """The worker holds nothing any more, and nothing is in doubt."""
        self.unsure = False

    @contextmanager
    def unsure_until_done(self) -> Iterator[None]:
        """Be unsure while a change is made: if it fails, Redis may have done it or not."""
        before, self.unsure = self.unsure, True
        yield
        self.unsure = before

    def may_be_anothers(self) -> bool:
        """Whether a task begun while trusted, of whose start Redis may not know, can be another worker's by now."""
        return time.monotonic() >= self._trusted_until + self.window_s
