"""Counts what happened to every job, by the ledger: started, finished, lost, early, started twice, and how late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from .ledger import Entry, Finish, Start


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of one job: due time in epoch microseconds by Redis's clock, and duration in microseconds."""

    due_us: int
    duration_us: int


@dataclass(slots=True)
class _Seen:
    first_us: int = 0
    starts: int = 0
    finishes: int = 0
    last_finish_us: int = 0
    tokens: set[int] = field(default_factory=set)


class Account:
    """Compares the entries of the ledger with the plan.

    Due times are those of the plan, not those that tasks received: a task with a wrong one would look punctual.
    ``offset_us`` is added to every time in the ledger, to compare it with Redis's clock.
    """

    def __init__(self, plan: Mapping[str, Planned], *, offset_us: int = 0) -> None:
        self._plan, self._offset_us = plan, offset_us
        self._seen: dict[str, _Seen] = {}
        self.entries = 0
        self.starts = 0
        self.finished = 0
        self.early = 0
        """Starts, not jobs, before the due time."""
        self.same_token = 0
        """Starts under a token that had started the job already: one claim that ran twice."""
        self.strangers = 0
        """Starts of tasks that were not in the plan."""
        self.started = 0
        """Jobs that started at least once."""

    def add(self, entries: Iterable[Entry]) -> None:
        """Count these entries."""
        for entry in entries:
            self.entries += 1
            if isinstance(entry, Start):
                self._start(entry)
            elif isinstance(entry, Finish):
                self._finish(entry)

    @property
    def lost(self) -> int:
        """Jobs that have not finished. Only at the end does this mean lost."""
        return len(self._plan) - self.finished

    @property
    def extra_starts(self) -> int:
        """Starts beyond each job's first."""
        return self.starts - self.started

    def lost_ids(self) -> list[str]:
        """The jobs that have not finished."""
        return [task_id for task_id in self._plan if not self._finishes(task_id)]

    def finishes(self) -> Iterator[str]:
        """The id of each job that finished, once for each of its finishes."""
        for task_id, seen in self._seen.items():
            yield from [task_id] * seen.finishes

    def lateness_us(self) -> list[int]:
        """For each job that started: its earliest start minus its due time; negative if early."""
        return [seen.first_us - self._plan[task_id].due_us for task_id, seen in self._seen.items() if seen.starts]

    def overdue(self, now_us: int) -> int:
        """How many jobs are past their due time at ``now_us`` (Redis's clock) and have not started."""
        return sum(planned.due_us <= now_us for planned in self._plan.values()) - self.started

    def last_finish_us(self) -> int:
        """When the last job finished, by Redis's clock; 0 if none did."""
        return max((seen.last_finish_us for seen in self._seen.values()), default=0)

    def lateness_with_free_worker_us(self, workers: int) -> list[int]:
        """Lateness of the jobs that found a free worker: as they came due, fewer jobs than workers were due or running.

        A worker counts as free from its task's last line on, though it has not settled the task yet.
        """
        free: list[int] = []
        unfinished: list[float] = []  # when each job that was due earlier finished
        for task_id, planned in sorted(self._plan.items(), key=lambda item: item[1].due_us):
            while unfinished and unfinished[0] <= planned.due_us:
                heappop(unfinished)
            seen = self._seen.get(task_id)
            if seen is not None and seen.starts and len(unfinished) < workers:
                free.append(seen.first_us - planned.due_us)
            heappush(unfinished, seen.last_finish_us if seen is not None and seen.finishes else float("inf"))
        return free

    def quiet_since_us(self) -> int:
        """When the next thing should have happened, by Redis's clock; in the future if it is not due yet.

        That is the end of the last running job, or the start of the first waiting job, whichever is later.
        """
        running = [
            seen.first_us + planned.duration_us
            for task_id, planned in self._plan.items()
            if (seen := self._seen.get(task_id)) is not None and seen.starts and not seen.finishes
        ]
        waiting = [planned.due_us for task_id, planned in self._plan.items() if not self._starts(task_id)]
        return max(max(running, default=0), min(waiting, default=0))

    def _start(self, entry: Start) -> None:
        planned = self._plan.get(entry.id)
        if planned is None:
            self.strangers += 1
            return
        at_us = entry.at_us + self._offset_us
        seen = self._seen.setdefault(entry.id, _Seen())
        # starts that overlap may be written in either order
        seen.first_us = min(seen.first_us, at_us) if seen.starts else at_us
        self.started += not seen.starts
        if entry.token in seen.tokens:
            self.same_token += 1
        seen.tokens.add(entry.token)
        seen.starts += 1
        self.starts += 1
        self.early += at_us < planned.due_us

    def _finish(self, entry: Finish) -> None:
        if entry.id not in self._plan:
            return
        seen = self._seen.setdefault(entry.id, _Seen())
        self.finished += not seen.finishes
        seen.finishes += 1
        seen.last_finish_us = max(seen.last_finish_us, entry.at_us + self._offset_us)

    def _starts(self, task_id: str) -> int:
        seen = self._seen.get(task_id)
        return seen.starts if seen is not None else 0

    def _finishes(self, task_id: str) -> int:
        seen = self._seen.get(task_id)
        return seen.finishes if seen is not None else 0
