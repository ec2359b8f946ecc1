"""The ledger's account of a chaos run: what happened to each task, and the cause of each extra start."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .account import Account, Planned
from .ledger import Entry, Failure, Start

UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Point:
    """One start of a task, by the ledger."""

    at_s: float
    """Seconds since the first task was due."""
    late_ms: float
    """Start minus due time in milliseconds; negative if the task started early."""
    again: bool
    """True for each start of a task beyond its first."""


class Book(Account):
    """An account that also keeps every start, and which worker runs which task. Unplanned tasks go to ``apart``."""

    def __init__(self, plan: Mapping[str, Planned], *, offset_us: int = 0) -> None:
        super().__init__(plan, offset_us=offset_us)
        self._planned = plan
        self.by_task: dict[str, list[Start]] = defaultdict(list)
        self.apart: list[Entry] = []
        """Entries of tasks that are meant never to finish."""
        self.running: dict[int, str] = {}
        """The task that each worker (by pid) has started and not finished, as far as the ledger knows."""
        self._tokens = Counter[int]()
        self.raised = Counter[str]()
        """How often each task raised."""

    def add(self, entries: Iterable[Entry]) -> None:
        ours = []
        for entry in entries:
            if entry.id not in self._planned:
                self.apart.append(entry)
                continue
            ours.append(entry)
            if isinstance(entry, Start):
                self.by_task[entry.id].append(entry)
                self._tokens[entry.token] += 1
                self.running[entry.pid] = entry.id
            else:
                self.running.pop(entry.pid, None)
            if isinstance(entry, Failure):
                self.raised[entry.id] += 1
        super().add(ours)

    def duplicates(self) -> Counter[str]:
        """Starts beyond each task's first, by the cause that the task read from dueq."""
        found = Counter[str]()
        for starts in self.by_task.values():
            causes, unexplained = _causes(starts)
            found.update(causes)
            found[UNEXPLAINED] += unexplained
        found[UNEXPLAINED] += self.same_token
        return found

    def unexplained(self) -> set[str]:
        """The tasks with a start beyond their first for which dueq gave no cause."""
        return {task_id for task_id, starts in self.by_task.items() if _causes(starts)[1]}

    def tokens_given_twice(self) -> list[int]:
        """Tokens under which more than one start was made, of the same task or of different tasks."""
        return sorted(token for token, starts in self._tokens.items() if starts > 1)

    def unaccounted(self, killed: Iterable[tuple[str, int]]) -> list[str]:
        """Tasks with a start beyond their first that no kill explains. Each kill explains one later start.

        ``killed`` has each task that was killed in the middle, and when.
        """
        kills = defaultdict[str, list[int]](list)
        for task_id, at_us in killed:
            kills[task_id].append(at_us)
        found = []
        for task_id, starts in self.by_task.items():
            again, its_kills = sorted(start.at_us for start in starts)[1:], sorted(kills[task_id])
            if len(again) > len(its_kills) or any(start <= kill for start, kill in zip(again, its_kills, strict=False)):
                found.append(task_id)
        return found

    def restarted_after(self, task_id: str, at_us: int) -> int | None:
        """Microseconds from ``at_us`` until the task was started again; None if it was not."""
        later = [start.at_us for start in self.by_task[task_id] if start.at_us > at_us]
        return min(later) - at_us if later else None

    def points(self, base_us: int) -> list[Point]:
        """Every start, for the plot. ``base_us`` is when the first task was due."""
        found = []
        for task_id, starts in self.by_task.items():
            due_us = self._planned[task_id].due_us
            for number, start in enumerate(starts):
                found.append(Point((start.at_us - base_us) / 1e6, (start.at_us - due_us) / 1e3, number > 0))
        return sorted(found, key=lambda point: (point.at_s, point.late_ms))


def _causes(starts: Sequence[Start]) -> tuple[list[str], int]:
    """The causes that a task read at its starts beyond its first, and how many starts had none."""
    extra = len(starts) - 1
    # the start that dueq counts as the first may be missing (killed before it wrote its line) or written last
    causes = [start.cause for start in starts if start.cause][:extra]
    return causes, max(0, extra - len(causes))
