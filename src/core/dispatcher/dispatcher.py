"""A dispatcher: sleep until something is due, let the strategy move it, sleep again."""

from __future__ import annotations

import logging
import time

from ..client.failures import TRANSIENT, described
from ..client.retry_loop import RetryLoop
from ..clock import US, ServerClock
from ..errors import NamespaceTooNew, StrategyMismatch
from ..namespace import Namespace
from ..process.exit_status import ExitStatus
from ..process.stop import Stop
from ..schema.bounds import MOST_TASKS
from ..store.strategy import Dispatched, WakeReason
from ..telemetry.recorder import DispatcherTelemetry
from .lead_time import LeadTime
from .rehearsal import Rehearsal

log = logging.getLogger("dueq.dispatcher")

_LAST_S = 0.0006  # of a sleep until a due time: its second part


class Dispatcher:
    """Drives one strategy. ``run_once`` takes one step; ``stop`` ends it after that step."""

    def __init__(
        self,
        namespace: Namespace,
        telemetry: DispatcherTelemetry,
        *,
        batch: int = MOST_TASKS,
        safety_net: float = 30.0,
        stop: Stop,
    ) -> None:
        self._strategy, self._store, self._telemetry = namespace.strategy, namespace.store, telemetry
        self._batch, self._safety_net, self._stop = batch, safety_net, stop
        self._loop, self._lead_time = RetryLoop(log, telemetry), LeadTime()
        self._rehearsal, self._clock = Rehearsal(), ServerClock()

    def run(self) -> int:
        """Dispatch until stopped; returns the exit status. Raises StrategyMismatch if the namespace was migrated,
        NamespaceTooNew if a newer dueq writes there by now."""
        try:
            while not self._stop.requested:
                self.run_once()
        except (StrategyMismatch, NamespaceTooNew):
            self._wake_another()
            raise
        finally:
            self._strategy.close()
        return ExitStatus.STOPPED

    def run_once(self) -> None:
        """Move what is due; if that was all, sleep until the next task is due or something wakes us."""
        with self._loop.turn("dispatch"):
            sent_ns = time.monotonic_ns()
            result = self._strategy.dispatch(self._batch)
            received_ns = time.monotonic_ns()
            late = max((one.seconds for one in result.moved), default=None)
            self._lead_time.received(late, result.next_in, (received_ns - sent_ns) / 1e9)
            self._telemetry.moved(result.moved, result.now_us)
            self._telemetry.conflicts(result.conflicts)
            if self._rehearsal.begins(result.next_in):
                self._rehearse(result)
            if result.next_in != 0:
                self._loop.then("sleep")
                self._sleep(self._left(result, sent_ns, received_ns))
        if self._loop.pause:
            self._interrupted()
            self._telemetry.turn(self._loop.pause)
            self._stop.sleep(self._loop.pause)

    def _rehearse(self, result: Dispatched) -> None:
        if result.next_in is not None and result.next_queue and result.now_us:
            self._store.rehearse(result.next_queue, result.now_us + round(result.next_in * US))

    def _interrupted(self) -> None:
        self._lead_time.interrupted()
        self._rehearsal.interrupted()

    def _wake_another(self) -> None:
        # this dispatcher may have received a wake-up that another one needs, of the other strategy or of this one
        self._strategy.close()  # first: the new wake-up must not go to the request that is open here
        try:
            self._store.wake_dispatcher()
        except TRANSIENT as error:
            log.warning("could not wake another dispatcher while stopping: %s", described(error))

    def _left(self, result: Dispatched, sent_ns: int, received_ns: int) -> float | None:
        """Seconds until a request must be sent to arrive when the next task is due; None: no task is scheduled.

        They count from the sending of the last request, never from its reply: a reply that stalls makes no task late.
        """
        if result.next_in is None:
            return None
        if not result.now_us:  # a strategy that does not tell the time
            return result.next_in - (time.monotonic_ns() - sent_ns) / 1e9
        self._clock.observe(result.now_us, sent_ns, received_ns)
        return result.next_in + (result.now_us - self._clock.latest_us()) / US

    def _wait(self, seconds: float) -> WakeReason | None:
        """Wait in two parts: how late a long sleep ends varies more than how late a short one does."""
        deadline = time.monotonic() + seconds
        if seconds > 2 * _LAST_S and (
            woken_by := self._strategy.wait(seconds - _LAST_S, wakeup_fd=self._stop.fileno())
        ):
            return woken_by
        return self._strategy.wait(max(0.0, deadline - time.monotonic()), wakeup_fd=self._stop.fileno())

    def _until_due(self, left: float) -> float:
        """How long to sleep when a task is due in ``left``: until it is, or until a rehearsal before that."""
        rehearsal = self._rehearsal.sleep(left, self._lead_time.trip)
        return self._lead_time.sleep(left) if rehearsal is None else rehearsal

    def _sleep(self, left: float | None) -> None:
        due = left is not None and left < self._safety_net
        sleeps = self._until_due(left) if due and left is not None else self._safety_net
        if sleeps <= 0:
            return
        allowed = self._loop.allowed(sleeps)
        due = due and allowed == sleeps
        self._telemetry.turn(allowed)
        self._stop.forget_wakeups()
        woken_by = self._wait(allowed) if due else self._strategy.wait(allowed, wakeup_fd=self._stop.fileno())
        if woken_by is not None or allowed < sleeps:
            self._interrupted()
        if not (self._stop.requested or self._rehearsal.is_next):
            self._telemetry.woke(woken_by or ("due" if due else "safety_net"))
