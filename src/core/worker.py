"""A worker: take a due task, run it, settle it. One task at a time; one round trip per task."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from .app import Dueq
from .clock import US, ServerClock
from .codec import Record, decode_body
from .connection import TRANSIENT, Patience, redact
from .context import Context, running
from .doorbell import Doorbell
from .errors import DueqError, StrategyMismatch
from .keeper import Keeper
from .limits import NO_LIMITS, Limits
from .logs import about
from .namespace import Namespace
from .pulse import Pulse
from .retry import Backoff
from .statuses import RECYCLED, STOPPED
from .stop import Stop
from .store.base import Advance, Outcome
from .telemetry import WorkerTelemetry
from .timeouts import Alarm

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
        prefetch: int = 1,
        rotate_queues: bool = False,
        safety_net: float = 30.0,
        max_losses: int = 3,
        limits: Limits = NO_LIMITS,
        stop: Stop,
    ) -> None:
        self.app, self.namespace, self.name, self.queues = app, namespace, name, list(queues)
        self.telemetry = telemetry
        self._store, self._lease_us, self._prefetch = namespace.store, int(lease * US), prefetch
        self._safety_net, self._max_losses = safety_net, max_losses
        self._bell = Doorbell(namespace.client, [namespace.keys.of("bell", q) for q in queues], wakeup_fd=stop.fileno())
        self._rotate = rotate_queues
        self._clock = ServerClock()
        self._patience = Patience()
        self._stop = stop
        self._held: deque[Record] = deque()
        self._unsettled: Outcome | None = None
        self._unsure = False  # a reply was lost: Redis may have given us claims that we do not know of
        self._keeper = Keeper(namespace, name, lease, releases=prefetch > 1)
        self._pulse = Pulse(telemetry.tally, lease)
        self._alarm = Alarm()
        self._limits, self._runs, self._spent = limits, 0, False

    def run(self) -> int:
        """Work until stopped or at a limit; then settle, give back what is held, close, and return the exit status.

        Does so, too, before it raises StrategyMismatch, because another strategy keeps the namespace by now.
        """
        self._keeper.start()
        self._pulse.start()
        try:
            while not (self._stop.requested or self._spent):
                self.run_once()
            self._leave()
        except StrategyMismatch:
            self._move_out()
            raise
        finally:
            self._pulse.stop()
            self._keeper.stop()
            self._bell.close()
        return STOPPED if self._stop.requested else RECYCLED

    def run_once(self) -> None:
        """Settle the last task and run the next; if there is none, wait for one."""
        self.telemetry.turn()
        try:
            step = self._advance()
        except TRANSIENT as error:
            self._unsure = True
            self._suffer(error)
            return
        if self._patience.succeeded():
            log.info("Redis is back")
        if step.started is not None:
            self._unsettled = self._execute(step.started, step.now_us)
            self._runs += 1
            self._spent = self._limits.left(self._runs) == 0 or self._limits.too_large()
        elif not self._held:
            self._idle()

    # -- one step

    def _advance(self) -> Advance:
        if self._unsure:
            self._make_sure()
        self._forget_released()
        start = self._held.popleft() if self._held else None
        outcome = self._unsettled
        self._keeper.settling()
        sent = time.monotonic_ns()
        step = self._store.advance(
            self.name,
            self._next_queues(),
            self._lease_us,
            want=0 if self._held else min(self._prefetch, self._limits.left(self._runs) or self._prefetch),
            outcome=outcome,
            start=start,
        )
        self._clock.told(step.now_us, sent, time.monotonic_ns())
        if outcome is not None:
            self._unsettled = None
            self._settled(outcome, step)
        if step.dropped:
            self.telemetry.dropped(step.dropped)
        self._held.extend(step.held)
        if step.holding > len(self._held) + (step.started is not None):
            self._unsure = True  # an earlier request arrived after we had given it up, and took tasks in our name
        self._keeper.holding(step.started, self._held)
        return step

    def _forget_released(self) -> None:
        if released := self._keeper.released():
            self._held = deque(claim for claim in self._held if claim.token not in released)

    def _next_queues(self) -> list[str]:
        if self._rotate:
            self.queues.append(self.queues.pop(0))
        return self.queues

    def _settled(self, outcome: Outcome, step: Advance, *, asked_again: bool = False) -> None:
        how = step.settled
        # asked again, a record that is gone or claimed anew shows that the first request had arrived (an ack leaves
        # none to claim)
        arrived = asked_again and (how == "missing" or (how == "stale" and outcome.kind == "retry"))
        if how in ("done", "repeated") or arrived:
            self.telemetry.finished(outcome, step.now_us)
        else:
            self.telemetry.stale(outcome, step.now_us)
            log.warning(
                "task %s, token %s: its result is refused, since another worker took it over (or it was purged)",
                outcome.claim.id,
                outcome.claim.token,
                extra=about(outcome.claim),
            )

    def _make_sure(self) -> None:
        # The outcome is settled by its token, so asking again is safe; whatever else this worker is said to hold,
        # it never learnt of and so never ran.
        if self._unsettled is not None:
            step = self._store.advance(self.name, (), self._lease_us, want=0, outcome=self._unsettled)
            outcome, self._unsettled = self._unsettled, None
            self._settled(outcome, step, asked_again=self._unsure)
        self._held.clear()
        self._store.give_back(self.name, "unstarted", self._max_losses)
        self._unsure = False

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
                self.telemetry.ended(claim, task_name, time.perf_counter() - began)
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

    def _idle(self) -> None:
        self._stop.forget_wakeups()
        self.telemetry.turn(self._safety_net)
        try:
            rung = self._bell.wait(self._safety_net)
            if not rung:
                # an open request would swallow a ring while this worker is busy with what it finds now
                self._bell.hang_up()
        except TRANSIENT as error:
            self._suffer(error)

    def _suffer(self, error: Exception) -> None:
        if self._patience.failures == 0:
            log.warning("Redis trouble, trying again: %s", redact(str(error)))
        seconds = self._patience.failed()
        self.telemetry.turn(seconds)
        self._stop.sleep(seconds)

    def _leave(self) -> None:
        # the last word on what this worker holds; if Redis is away, the supervisor or the reaper has it
        try:
            if self._unsettled is not None or self._unsure:
                self._make_sure()
            self._store.give_back(self.name, "unstarted", self._max_losses)
            self._ring_on()
        except TRANSIENT as error:
            log.warning("could not settle with Redis while stopping: %s", redact(str(error)))

    def _move_out(self) -> None:
        # a retry must be scheduled by the strategy that keeps the namespace now
        self._unsure = True  # what was refused may be done in part
        try:
            moved = Namespace.open(replace(self.namespace.settings, strategy=None))
        except DueqError as error:
            log.warning("could not settle with Redis while stopping: %s", error)
            return
        self._store = moved.store
        self._leave()
        moved.close()

    def _ring_on(self) -> None:
        # a ring may have been on its way here when this worker hung up
        client, keys = self.namespace.client, self.namespace.keys
        for queue in self.queues:
            if client.llen(keys.of("ready", queue)):
                client.lpush(keys.of("bell", queue), "1")


def _reason(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001  # the task's own exception class decides what happens here
        text = f"(its text raised {type(broken).__name__})"
    return f"{type(error).__name__}: {text}"[:_REASON_CHARACTERS].encode("utf-8", "backslashreplace").decode()
