"""How soon a task runs again after its worker was killed in the middle of it, while its supervisor lives."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from ...core.clock import now_us
from ...harness.history import UNEXPLAINED
from ...harness.host import Host
from ...harness.stats import QUANTILES, quantile
from ...harness.supervised import TARGET
from ..figures import Figure
from ..floors import WAKE_UP
from ..jobs import Jobs
from ..place import Place
from ..work import Found

_WORKERS = 4
_TASK_S = 0.2
_INTO_S = 0.05  # how far into its task a worker is when it is killed
_PATIENCE_S = 30.0


def play(place: Place) -> Found:
    """Kill one worker at a time. The ledger says which worker runs what. A start with another cause is unexplained."""
    kills = place.sizes.kills
    wake = place.floors.wake_up
    recovery = _Recovery(place)
    # raised, since these kills are on purpose
    limits = ("--max-restarts", 100_000, "--max-losses", 1000)
    with place.engine(*limits, workers=_WORKERS, target=TARGET) as host:
        for number in range(kills):
            recovery.kill_one(host, f"k{number}")
            place.progress("kills", number + 1, kills)
    found = Found(scheduled=len(recovery.plan), finished=recovery.book.finished, early=recovery.book.early)
    found.note_end(host)
    found.duplicates.update(recovery.unexplained())
    took = sorted(recovery.took_us)
    for name, q in QUANTILES.items():
        value = quantile(took, q)
        late = None if value is None else value / 1000
        found.figures.append(Figure("recovery", f"run again {name}", late, "ms", wake.p99, WAKE_UP))
    if len(took) < kills:
        found.notes.append(f"recovery: {kills - len(took)} of {kills} tasks ended before their worker could be killed")
    return found


class _Recovery(Jobs):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._killed: list[tuple[str, int]] = []
        self.took_us: list[int] = []

    def kill_one(self, host: Host, task_id: str) -> None:
        """Run a task, kill its worker in the middle, and wait for its end."""
        # an idle worker is to take over, not one that boots
        self.until(lambda: len(host.children("worker")) >= _WORKERS // 2, _PATIENCE_S)
        self.schedule([task_id], _TASK_S)
        self.until(lambda: task_id in self.book.running.values(), _PATIENCE_S)
        time.sleep(_INTO_S)
        self.read()
        victim = next((pid for pid, running in self.book.running.items() if running == task_id), None)
        if victim is not None:
            at_us = now_us()
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            self._killed.append((task_id, at_us))
            self.until(lambda: self.book.restarted_after(task_id, at_us) is not None, _PATIENCE_S)
            if (took_us := self.book.restarted_after(task_id, at_us)) is not None:
                self.took_us.append(took_us)
        self.until(lambda: not self.book.lost, _PATIENCE_S)

    def unexplained(self) -> dict[str, int]:
        """Starts that neither dueq nor a kill explains. (dueq's own counts come from its page.)"""
        strange = len(self.book.unaccounted(self._killed))
        return {UNEXPLAINED: max(strange, self.book.duplicates()[UNEXPLAINED])}
