"""The auditor: checks each task's place now and then, and soon after tasks were recovered from owners that are gone.

Of the auditors of all supervisors one does an audit: Redis has the time when the last audit began, and when something
was last recovered. Between audits each auditor reads the two once a minute.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator

from ..client.retry_loop import RetryLoop
from ..clock import US
from ..errors import NamespaceMigrating
from ..namespace import Namespace
from ..schema import ownership
from ..schema.helper_keys import is_of_type
from ..schema.record import number
from ..telemetry.recorder import ReaperTelemetry
from ..upkeep.audit_times import audit_times, begin_audit
from .audit import Audit

log = logging.getLogger("dueq.auditor")

_FIRST_S = 300.0
"""Seconds from the start of an auditor to its first look: a start is busy enough without it."""
_LOOK_S = 60.0
_SPACING_S = 600.0
"""Least seconds from audit to audit, however much has to be recovered."""
_REST = 3
"""The rest after a step is this many times as long as the step: others use Redis, too."""
_LONGEST_REST_S = 1.0


class Auditor:
    """Sleeps until an audit is due. ``run_once`` takes one step and says in how many seconds to take the next."""

    def __init__(
        self,
        namespace: Namespace,
        telemetry: ReaperTelemetry,
        *,
        interval: float,
        grace: float,
        first_in: float = _FIRST_S,
    ) -> None:
        """A task that is in no place for ``grace`` seconds is lost. The first look is ``first_in`` seconds from now."""
        self._namespace, self._telemetry = namespace, telemetry
        self._interval, self._grace = interval, grace
        self._audit: Audit | None = None
        self._steps: Iterator[float] = iter(())
        self._began = 0.0
        self._last: bytes | None = None  # when the last audit began, as it stands in Redis
        self._owed = False  # an audit that was begun could not be finished
        self._odd = False  # since it met a key of another type
        self._resume_at = time.monotonic() + min(first_in, interval)
        self._loop = RetryLoop(log, telemetry, first=1.0, most=_LOOK_S)

    @property
    def busy(self) -> bool:
        """Whether an audit is under way."""
        return self._audit is not None

    def run_once(self) -> float:
        """Take a step of an audit, or see whether one is due. Raises StrategyMismatch."""
        early = self._resume_at - time.monotonic()
        if early > 0:
            return early
        seconds = self._careful_step()
        self._resume_at = time.monotonic() + seconds
        return seconds

    def _careful_step(self) -> float:
        try:
            with self._loop.turn(settles=False):  # the end of an audit does
                return self._step()
        except NamespaceMigrating:  # tasks are in two indexes
            self._cut_short()
            return self._look_in()
        if self._loop.error is not None:
            self._odd = self._odd or is_of_type(self._loop.error)
        self._cut_short()
        return self._loop.pause

    def _step(self) -> float:
        began = time.monotonic()
        if self._audit is None:
            due_in = 0.0 if self._owed else self._due_in()
            if due_in > 0:
                return min(due_in, self._look_in())
            if not self._begin():
                return self._look_in()
        pause = next(self._steps, None)
        if pause is None:
            self._end()
            return self._look_in()
        return max(pause, min(_LONGEST_REST_S, _REST * (time.monotonic() - began)))

    def _due_in(self) -> float:
        """Seconds until an audit is due."""
        self._last, recovered = audit_times(self._namespace)
        if self._last is None:
            return 0.0
        age = abs(_now_s(self._namespace) - number(self._last))  # a clock that was ahead must not put it off for ever
        requested = recovered is not None and number(recovered) >= number(self._last)
        return max(0.0, (min(self._interval, _SPACING_S) if requested else self._interval) - age)

    def _begin(self) -> bool:
        """Begin an audit; False if another auditor has just done so."""
        namespace, keys = self._namespace, self._namespace.keys
        ownership.require(keys, namespace.strategy.ownership, ownership.look(namespace.client, keys), settled=True)
        now = _now_s(namespace)
        last = begin_audit(namespace, now)
        if not self._owed and last != self._last:
            return False
        self._audit = Audit(namespace, self._telemetry, self._grace, keys_are_odd=self._odd)
        self._steps, self._began = self._audit.steps(), time.monotonic()
        return True

    def _end(self) -> None:
        if self._audit is not None:
            seconds = time.monotonic() - self._began
            log.info("audited %d tasks in %.1f s: %d repairs", self._audit.records, seconds, self._audit.repairs)
        self._audit, self._owed, self._odd = None, False, False
        self._loop.passed()

    def _cut_short(self) -> None:
        self._owed = self._owed or self._audit is not None
        self._audit = None

    def _look_in(self) -> float:
        # several auditors should not look at once
        return min(_LOOK_S, self._interval) * random.uniform(0.8, 1.2)


def _now_s(namespace: Namespace) -> int:
    return namespace.store.time_us() // US
