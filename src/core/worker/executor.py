"""Runs one claimed task to its outcome. Whatever the task does, the worker goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..app.application import Dueq
from ..app.context import STAGE, Context
from ..app.invocation import misfit, unfinished
from ..app.payload import decode_body
from ..app.task import Task
from ..clock import ServerClock
from ..process import forks
from ..schema.record import Record
from ..store.values import Outcome
from ..telemetry.recorder import WorkerTelemetry
from .failing import misfired, outcome_of
from .prefetch import Prefetch
from .soft_timeout import Alarm


class Executor:
    """Runs the tasks of one worker, one at a time, in the main thread."""

    def __init__(
        self,
        app: Dueq,
        namespace: str,
        telemetry: WorkerTelemetry,
        clock: ServerClock,
        prefetch: Prefetch,
        renew: Callable[[], None],
    ) -> None:
        """``renew`` is called after each task: it restores what the task may have changed in this process."""
        self._app, self._namespace, self._telemetry = app, namespace, telemetry
        self._clock, self._prefetch, self._renew = clock, prefetch, renew
        self._alarm = Alarm()
        for task in app.tasks.values():
            _ = task.entry  # put together now, so that no task is late for it

    def execute(self, claim: Record, leased_us: int) -> Outcome:
        """Run the task of ``claim``, leased since ``leased_us`` by Redis's clock; returns how it ended.

        Does not return in a process that the task has forked.
        """
        if claim.tail and 0 < claim.expires_us < self._clock.latest_us():
            return misfired(claim)
        name = "?"
        try:
            name, args, kwargs = decode_body(claim.body)
            self._telemetry.started(claim, self._clock, leased_us)
            task = self._app.find(name)
        except Exception as error:  # noqa: BLE001  # whatever the record says: its task has failed, not this worker
            return outcome_of(claim, name, None, error)
        began = time.perf_counter()
        self._telemetry.runs(claim, task.timeouts.hard)  # the supervisor enforces that; the alarm, the soft one
        stage = STAGE.enter(self._context(claim, name))
        raised = self._perform(task, args, kwargs)
        seconds = time.perf_counter() - began
        self._renew()
        # the exception's own code may run here, for any time: that still belongs to the task
        outcome = Outcome(claim, "ack") if raised is None else outcome_of(claim, name, task, raised)
        STAGE.leave(stage)
        self._prefetch.ran(name, seconds)
        self._telemetry.ended(claim, name, seconds)
        return outcome

    def give_up(self) -> None:
        """In a fork: the worker's time-out does not apply to the task there."""
        self._alarm.give_up()

    def _context(self, claim: Record, name: str) -> Context:
        return Context(
            claim.id,
            name,
            claim.queue,
            self._namespace,
            claim.token,
            claim.starts,
            claim.due_us,
            claim.cause,
            claim.headers if claim.tail else {},
        )

    def _perform(self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> BaseException | None:
        """Call the task's function; returns what it raised, or why it did not run. Does not return in a fork."""
        function = task.function if task.is_plain else task.entry
        try:
            result = self._alarm.run(task.timeouts.soft, function, args, kwargs)
        except BaseException as error:  # noqa: BLE001  # SystemExit, CancelledError: also outcomes
            forks.end_here(error)
            if type(error) is TypeError:
                return misfit(task.name, task.function, args, kwargs, error) or error
            return error
        forks.end_here()
        return None if result is None else unfinished(task.name, result)
