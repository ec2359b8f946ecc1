"""A worker: take a due task, run it, settle it. One task at a time; one round trip per task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..app.application import Dueq, Task
from ..app.context import STAGE, Context
from ..app.invocation import misfit, unfinished
from ..app.payload import decode_body
from ..client.connection import TRANSIENT, described
from ..client.listener import OVERDUE_S
from ..client.trouble import Trouble
from ..clock import ServerClock
from ..errors import DueqError, NamespaceTooNew, StrategyMismatch
from ..namespace import Namespace
from ..process import forks
from ..process.exit_status import ExitStatus
from ..process.stop import Stop
from ..schema.record import Record
from ..store.base import Outcome
from ..store.crowds import served
from ..telemetry.recorder import WorkerTelemetry
from .failing import outcome_of
from .heartbeat import Heartbeat
from .lease_extender import LeaseExtender
from .pipeline import ClaimPipeline
from .prefetch import Prefetch
from .recycling import NO_RECYCLING, Recycling
from .soft_timeout import Alarm

log = logging.getLogger("dueq.worker")


class Worker:
    """Runs the tasks of ``queues``. ``run_once`` takes one step; ``stop`` ends it after that step."""

    def __init__(
        self,
        app: Dueq,
        namespace: Namespace,
        name: str,
        queues: Sequence[str],
        telemetry: WorkerTelemetry,
        *,
        lease: float,
        prefetch: int = 0,
        rotate_queues: bool = False,
        safety_net: float = 30.0,
        max_losses: int = 3,
        recycling: Recycling = NO_RECYCLING,
        stop: Stop,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """``renew`` is called after each task: it puts right what the task may have changed in this process."""
        self.app, self.namespace, self.name = app, namespace, name
        self.queues = served(queues, in_turns=rotate_queues)
        self.telemetry = telemetry
        self._safety_net, self._prefetch = safety_net, Prefetch(prefetch)
        self._rotate = rotate_queues
        self._clock = ServerClock()
        self._trouble = Trouble(log, telemetry)
        self._stop, self._renew = stop, renew
        self._outcome: Outcome | None = None  # of the last task
        self._looked = False  # the last sleep ended with a look at what is ready, and nothing was
        self._known = 0  # how many tasks the application had when the store was told their names
        self._pipeline = ClaimPipeline(
            namespace.store,
            name,
            self.queues,
            telemetry,
            self._clock,
            self._prefetch,
            lease=lease,
            max_losses=max_losses,
            wakeup_fd=stop.fileno(),
        )
        self._extender = LeaseExtender(namespace, name, lease, self._pipeline)
        self._heartbeat = Heartbeat(telemetry.counters, lease)
        self._alarm = Alarm()
        self._recycling, self._runs, self._spent = recycling, 0, False

    def run(self) -> int:
        """Work until stopped or at a limit; then settle, give back what is held, close, and return the exit status.

        Does so, too, before it raises StrategyMismatch, because another strategy keeps the namespace by now, or
        NamespaceTooNew, because a newer dueq does.
        """
        forks.on_fork(self._alarm.give_up)
        self._extender.start()
        self._heartbeat.start()
        try:
            while not (self._stop.requested or self._spent):
                self.run_once()
            self._leave()
        except (StrategyMismatch, NamespaceTooNew):
            self._move_out()
            raise
        finally:
            self._heartbeat.stop()
            self._extender.stop()
        return ExitStatus.STOPPED if self._stop.requested else ExitStatus.RECYCLED

    def run_once(self) -> None:
        """Settle the last task and run the next; if there is none, wait for one."""
        forks.end_here()  # a signal handler may have forked, too
        self.telemetry.turn()
        part = "step"
        try:
            self._publish_names()
            claim, leased_us = (None, 0) if self._looked else self._next()
            if self._trouble.passed(part):
                log.info("Redis is back")
            if claim is None:
                part = "sleep"
                claim, leased_us = self._idle()
                self._trouble.passed(part)
        except TRANSIENT as error:
            self._suffer(error, part)
            return
        if claim is not None:
            self._extender.runs(claim)
            self._outcome = self._execute(claim, leased_us)
            self._extender.running = None
            self._runs += 1
            self._spent = self._recycling.left(self._runs) == 0 or self._recycling.too_large()
            if self.telemetry.counters.draining:  # by a SIGTERM that the task may have taken for its own
                self._stop.request()

    # -- one step

    def _publish_names(self) -> None:
        """The store takes tasks only that this application defines: some are defined while it runs."""
        if self.app.task_count != self._known:
            names = self.app.tasks
            self._pipeline.know(names)
            self._known = len(names)

    def _next(self) -> tuple[Record | None, int]:
        outcome, self._outcome = self._outcome, None
        if self._rotate:
            self.queues.append(self.queues.pop(0))
        return self._pipeline.step(self.queues, outcome, self._recycling.left(self._runs))

    def _execute(self, claim: Record, leased_us: int) -> Outcome:
        name = "?"
        try:
            name, args, kwargs = decode_body(claim.body)
            self.telemetry.started(claim, self._clock, leased_us)
            task = self.app.find(name)
        except Exception as error:  # noqa: BLE001  # whatever the record says: its task has failed, not this worker
            return outcome_of(claim, name, None, error)
        return self._run(claim, task, args, kwargs)

    def _run(self, claim: Record, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome:
        began = time.perf_counter()
        self.telemetry.runs(claim, task.timeouts.hard)
        token = STAGE.enter(
            Context(
                claim.id,
                task.name,
                claim.queue,
                self.namespace.keys.namespace,
                claim.token,
                claim.starts,
                claim.due_us,
                claim.cause,
            )
        )
        error = self._call(task, args, kwargs)
        seconds = time.perf_counter() - began
        self._renew()
        # what the exception's own code does, and how long for, is still the task's account
        outcome = Outcome(claim, "ack") if error is None else outcome_of(claim, task.name, task, error)
        STAGE.leave(token)
        self._prefetch.ran(task.name, seconds)
        self.telemetry.ended(claim, task.name, seconds)
        return outcome

    def _call(self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> BaseException | None:
        """Call the task's function; returns what it raised, or why it did not run. In a fork, does not return."""
        try:
            result = self._alarm.run(task.timeouts.soft, task.function, args, kwargs)
        except BaseException as error:  # noqa: BLE001  # SystemExit, CancelledError: also outcomes
            forks.end_here(error)
            if type(error) is TypeError:
                return misfit(task.name, task.function, args, kwargs, error) or error
            return error
        forks.end_here()
        return None if result is None else unfinished(task.name, result)

    # -- waiting and leaving

    def _idle(self) -> tuple[Record | None, int]:
        self._looked = False
        self._stop.forget_wakeups()
        if self._stop.requested:
            return None, 0
        self.telemetry.turn(self._safety_net + OVERDUE_S)
        found = self._pipeline.sleep(
            self.queues, self._recycling.left(self._runs), self._trouble.sleep(self._safety_net)
        )
        self.telemetry.turn()
        self._looked = found is not None and found[0] is None
        return found or (None, 0)

    def _suffer(self, error: Exception, part: str) -> None:
        seconds = self._trouble.suffered(error, part)
        self.telemetry.turn(seconds)
        self._stop.sleep(seconds)

    def _leave(self) -> None:
        # the last word on what this worker holds; if Redis is away, the supervisor or the reaper has it
        try:
            outcome, self._outcome = self._outcome, None
            self._pipeline.leave(outcome)
            self._wake_others()
        except TRANSIENT as error:
            log.warning("could not settle with Redis while stopping: %s", described(error))

    def _move_out(self) -> None:
        # a retry must be scheduled by the strategy that keeps the namespace now
        try:
            moved = Namespace.open(replace(self.namespace.settings, strategy=None))
        except DueqError as error:
            log.warning("could not settle with Redis while stopping: %s", error)
            return
        self._pipeline.use(moved.store)
        self._leave()
        moved.close()

    def _wake_others(self) -> None:
        # a wake-up may have been on its way here when this worker withdrew its request
        self.namespace.store.wake_again(self.queues)
