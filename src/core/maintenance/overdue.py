"""The overdue check: wakes a process for work that is overdue, since the process that was woken for it may be gone.

A wake-up reaches one sleeping process, which then keeps watch for all: a dispatcher sleeps until the next task is due,
and the other dispatchers may sleep on. If it dies, its supervisor starts another, which looks at once. If its whole
host vanishes, the others would sleep until their safety net ends: longer than a take-over from a host should take.
"""

from __future__ import annotations

import logging

from ..client.retry_loop import RetryLoop
from ..clock import US, is_far
from ..namespace import Namespace
from ..telemetry.recorder import Telemetry

log = logging.getLogger("dueq.reaper")

_SLACK_S = 5.0  # what the contract allows on top of a lease until a host that vanished is taken over
_MARGIN_S = 0.5  # for the look itself, and for the process that it wakes
_LATE_S = 1.0  # a dispatcher lets no task get so late, unless it is very busy


class OverdueCheck:
    """Looks a little less than once a lease, at the queues that have work."""

    def __init__(self, namespace: Namespace, telemetry: Telemetry, *, lease: float) -> None:
        self._namespace = namespace
        late = min(lease / 4, _LATE_S) + namespace.strategy.resolution
        self._late_us = round(late * US)
        self._every = lease + _SLACK_S - late - _MARGIN_S  # as seldom as will do: looks cost commands
        self._overdue: list[int] = []  # what was overdue at the last look
        self._loop = RetryLoop(log, telemetry)

    def run_once(self) -> float:
        """Look once; returns how many seconds to sleep."""
        with self._loop.turn():
            self._look()
        return self._loop.pause or self._every

    def _look(self) -> None:
        space = self._namespace
        ready, due = space.store.oldest_ready(), space.strategy.earliest(space.store.queues)
        if not ready and all(map(is_far, due)):
            return
        since_us = space.store.time_us() - self._late_us
        overdue = [at for at in due if at < since_us]
        if overdue:
            if set(overdue) & set(self._overdue):  # else it is only a backlog that is being worked off
                log.warning("tasks are overdue and no dispatcher moves them: woke one; is one running?")
            space.store.wake_dispatcher()
        self._overdue = overdue
        # not logged: most often all workers are busy, and then this wakes none
        space.store.wake_again([queue for queue, ready_us in ready.items() if ready_us < since_us])
