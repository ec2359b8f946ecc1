"""A worker: take a due task, run it, settle it. One task at a time; one round trip per task."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from .app import Dueq
from .clock import US, ServerClock
from .codec import Record, decode_body
from .connection import TRANSIENT, described
from .context import Context, running
from .doorbell import OVERDUE_S
from .errors import DueqError, NamespaceTooNew, StrategyMismatch
from .hands import Hands
from .keeper import Keeper
from .limits import NO_LIMITS, Limits
from .logs import about
from .namespace import Namespace
from .prefetch import Prefetch
from .pulse import Pulse
from .retry import Backoff
from .statuses import RECYCLED, STOPPED
from .stop import Stop
from .store.base import Outcome
from .telemetry import WorkerTelemetry
from .texts import bounded
from .timeouts import Alarm
from .trouble import Trouble

log = logging.getLogger("dueq.worker")

_REASON_CHARACTERS = 2000


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
        limits: Limits = NO_LIMITS,
        stop: Stop,
    ) -> None:
        self.app, self.namespace, self.name, self.queues = app, namespace, name, list(queues)
        self.telemetry = telemetry
        self._safety_net, self._prefetch = safety_net, Prefetch(prefetch)
        self._rotate = rotate_queues
        self._clock = ServerClock()
        self._trouble = Trouble(log, telemetry)
        self._stop = stop
        self._outcome: Outcome | None = None  # of the last task
        self._looked = False  # the last sleep ended with a look at what is ready, and nothing was
        self._known = 0  # how many tasks the application had when the store was told their names
        self._hands = Hands(
            namespace.store,
            name,
            queues,
            telemetry,
            self._clock,
            self._prefetch,
            lease=lease,
            max_losses=max_losses,
            wakeup_fd=stop.fileno(),
        )
        self._keeper = Keeper(namespace, name, lease, self._hands)
        self._pulse = Pulse(telemetry.tally, lease)
        self._alarm = Alarm()
        self._limits, self._runs, self._spent = limits, 0, False

    def run(self) -> int:
        """Work until stopped or at a limit; then settle, give back what is held, close, and return the exit status.

        Does so, too, before it raises StrategyMismatch, because another strategy keeps the namespace by now, or
        NamespaceTooNew, because a newer dueq does.
        """
        self._keeper.start()
        self._pulse.start()
        try:
            while not (self._stop.requested or self._spent):
                self.run_once()
            self._leave()
        except (StrategyMismatch, NamespaceTooNew):
            self._move_out()
            raise
        finally:
            self._pulse.stop()
            self._keeper.stop()
        return STOPPED if self._stop.requested else RECYCLED

    def run_once(self) -> None:
        """Settle the last task and run the next; if there is none, wait for one."""
        self.telemetry.turn()
        part = "step"
        try:
            self._tell_names()
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
            self._keeper.runs(claim)
            self._outcome = self._execute(claim, leased_us)
            self._keeper.running = None
            self._runs += 1
            self._spent = self._limits.left(self._runs) == 0 or self._limits.too_large()

    # -- one step

    def _tell_names(self) -> None:
        """The store takes tasks only that this application defines: some are defined while it runs."""
        if self.app.task_count != self._known:
            names = self.app.tasks
            self._hands.know(names)
            self._known = len(names)

    def _next(self) -> tuple[Record | None, int]:
        outcome, self._outcome = self._outcome, None
        if self._rotate:
            self.queues.append(self.queues.pop(0))
        return self._hands.step(self.queues, outcome, self._limits.left(self._runs))

    def _execute(self, claim: Record, leased_us: int) -> Outcome:
        task_name = "?"
        began = 0.0
        try:
            task_name, args, kwargs = decode_body(claim.body)
            context = Context(
                claim.id,
                task_name,
                claim.queue,
                self.namespace.keys.namespace,
                claim.token,
                claim.starts,
                claim.due_us,
                claim.cause,
            )
            self.telemetry.started(claim, self._clock, leased_us)
            task = self.app.find(task_name)
            token = running.set(context)
            began = time.perf_counter()
            self.telemetry.runs(claim, task.timeouts.hard)
            try:
                self._alarm.run(task.timeouts.soft, task.function, args, kwargs)
            finally:
                seconds = time.perf_counter() - began
                self._prefetch.ran(task_name, seconds)
                self.telemetry.ended(claim, task_name, seconds)
                running.reset(token)
            return Outcome(claim, "ack")
        except BaseException as error:  # noqa: BLE001  # SystemExit, CancelledError: also outcomes
            return self._failed(claim, task_name, error)

    def _failed(self, claim: Record, task_name: str, error: BaseException) -> Outcome:
        task = self.app.tasks.get(task_name)
        retries = task.retries if task else 3
        reason = _reason(error)
        if claim.retries >= retries:
            log.error(
                "task %s (%s) failed for good after %d retries",
                claim.id,
                task_name,
                claim.retries,
                exc_info=error,
                extra=about(claim),
            )
            return Outcome(claim, "dead", reason=reason)
        delay = (task.backoff if task else Backoff()).delay(claim.retries)
        log.warning(
            "task %s (%s) failed, retry %d of %d in %.1f s",
            claim.id,
            task_name,
            claim.retries + 1,
            retries,
            delay,
            exc_info=error,
            extra=about(claim),
        )
        return Outcome(claim, "retry", delay_us=int(delay * US), reason=reason)

    # -- waiting and leaving

    def _idle(self) -> tuple[Record | None, int]:
        self._looked = False
        self._stop.forget_wakeups()
        if self._stop.requested:
            return None, 0
        self.telemetry.turn(self._safety_net + OVERDUE_S)
        found = self._hands.sleep(self.queues, self._limits.left(self._runs), self._safety_net)
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
            self._hands.leave(outcome)
            self._ring_on()
        except TRANSIENT as error:
            log.warning("could not settle with Redis while stopping: %s", described(error))

    def _move_out(self) -> None:
        # a retry must be scheduled by the strategy that keeps the namespace now
        try:
            moved = Namespace.open(replace(self.namespace.settings, strategy=None))
        except DueqError as error:
            log.warning("could not settle with Redis while stopping: %s", error)
            return
        self._hands.use(moved.store)
        self._leave()
        moved.close()

    def _ring_on(self) -> None:
        # a ring may have been on its way here when this worker hung up
        self.namespace.store.ring_on(self.queues)


def _reason(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001  # the task's own exception class decides what happens here
        text = f"(its text raised {type(broken).__name__})"
    reason = bounded(
        f"{type(error).__name__}: {text}", _REASON_CHARACTERS
    )  # Redis's readers see no more than the log's
    return reason.encode("utf-8", "backslashreplace").decode()
