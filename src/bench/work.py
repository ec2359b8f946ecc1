"""The tasks of a suite, which are scheduled, waited for and judged by their marks; and the results of a suite."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import psutil

from ..core.clock import US
from ..harness.history import UNEXPLAINED
from ..harness.host import Host
from .figures import Figure
from .marks import CAPACITY, MarksReader, Seen
from .place import Place
from .tasks import mark

CHUNK = 1000
"""How many tasks are scheduled between two updates of the bar."""

CAUSES = ("worker_lost", "lease_expired", "dispatch", "stale_ack")
_TICK_S = 0.05
STALLED_S = 20.0  # after so long without a finish, the missing tasks count as lost


@dataclass
class Found:
    """The results of a suite. Counts are of tasks that were meant to run."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scheduled: int = 0
    finished: int = 0
    early: int = 0
    duplicates: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    lateness_us: list[int] = field(default_factory=list)
    """The lateness of each task of the suite ``lateness``."""
    commands_per_task: float | None = None
    troubles: list[str] = field(default_factory=list)
    """Failures other than lost, early and unexplained starts: a supervisor that ended with an error."""

    @property
    def lost(self) -> int:
        return self.scheduled - self.finished

    def note_end(self, host: Host) -> None:
        """Add the counters of an engine that has ended."""
        self.restarts += host.page.restarts
        self.duplicates.update({cause: host.page.duplicates[cause] for cause in CAUSES})
        if host.exit_status:
            self.troubles.append(f"dueq run ended with status {host.exit_status}; its log ends:\n{host.log_end()}")


class Work:
    """The tasks of one suite, numbered, in the bench's own application."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._marks = MarksReader(place.directory)
        self.due_us: list[int] = []
        """When each task is due, by its number."""

    def schedule(self, due_us: Sequence[int], what: str = "scheduling") -> range:
        """Schedule a task for each of these times, in bulk; returns their numbers."""
        first = len(self.due_us)
        self.due_us += due_us
        assert len(self.due_us) <= CAPACITY, "more tasks than there are marks for"
        for at in range(0, len(due_us), CHUNK):
            some = enumerate(due_us[at : at + CHUNK], first + at)
            self._place.producer.schedule_many(mark.call_at(due / US, id=task_id(n))(n) for n, due in some)
            self._place.progress(what, min(at + CHUNK, len(due_us)), len(due_us))
        return range(first, len(self.due_us))

    def wait(self, what: str = "running") -> None:
        """Return when every task has finished, or when none has finished for 20 s after all were due."""
        count, moved_at = self._marks.finishes(), time.monotonic()
        while count < len(self.due_us) or any(not seen.finishes for seen in self.seen().values()):
            time.sleep(_TICK_S)
            last, count = count, self._marks.finishes()
            self._place.progress(what, min(count, len(self.due_us)), len(self.due_us))
            if count > last or self._place.now_us() < max(self.due_us):
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at >= STALLED_S:
                return

    def seen(self, numbers: Iterable[int] | None = None) -> dict[int, Seen]:
        """The marks of these tasks, or of all."""
        return self._marks.of(range(len(self.due_us)) if numbers is None else numbers)

    def starts_us(self, numbers: Iterable[int] | None = None) -> list[int]:
        """The first start of each task that started, by the clock that due times go by, in order."""
        return sorted(seen.first_us + self._place.offset_us for seen in self.seen(numbers).values() if seen.starts)

    def lateness_us(self, numbers: Iterable[int] | None = None) -> list[int]:
        """For each task that started: its first start minus its due time; negative if early."""
        offset_us = self._place.offset_us
        return [
            seen.first_us + offset_us - self.due_us[number]
            for number, seen in self.seen(numbers).items()
            if seen.starts
        ]

    def judge(self, host: Host) -> Found:
        """The results of all tasks, once ``host`` has ended."""
        found, seen = Found(), list(self.seen().values())
        found.scheduled, found.finished = len(seen), sum(one.finishes > 0 for one in seen)
        found.early = sum(late < 0 for late in self.lateness_us())
        found.note_end(host)
        extra = sum(max(0, one.starts - 1) for one in seen)
        found.duplicates[UNEXPLAINED] = max(0, extra - host.page.explained_starts)
        return found


def task_id(number: int) -> str:
    """The id of a task by its number."""
    return f"b{number}"


def rate(starts_us: Sequence[int]) -> float | None:
    """Starts a second, from the first to the last of these ordered starts; None if there are fewer than two."""
    span_us = starts_us[-1] - starts_us[0] if len(starts_us) > 1 else 0
    return (len(starts_us) - 1) / span_us * US if span_us else None


def cpu_s_of(processes: Iterable[psutil.Process]) -> float:
    """Seconds of CPU that these processes have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)
