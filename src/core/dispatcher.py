"""A dispatcher: sleep until something is due, let the strategy move it, sleep again."""

from __future__ import annotations

import logging
import time

from .bells import ring_dispatcher
from .connection import TRANSIENT, described
from .errors import NamespaceTooNew, StrategyMismatch
from .lead import Lead
from .namespace import Namespace
from .statuses import STOPPED
from .stop import Stop
from .telemetry import DispatcherTelemetry
from .transactions import Transactions
from .trouble import Trouble

log = logging.getLogger("dueq.dispatcher")


class Dispatcher:
    """Drives one strategy. ``run_once`` takes one step; ``stop`` ends it after that step."""

    def __init__(
        self,
        namespace: Namespace,
        telemetry: DispatcherTelemetry,
        *,
        batch: int = 100,
        safety_net: float = 30.0,
        stop: Stop,
    ) -> None:
        self._strategy, self._telemetry = namespace.strategy, telemetry
        self._keys, self._transactions = namespace.keys, Transactions(namespace.client)
        self._batch, self._safety_net, self._stop = batch, safety_net, stop
        self._trouble, self._lead = Trouble(log, telemetry), Lead()

    def run(self) -> int:
        """Dispatch until stopped; returns the exit status. Raises StrategyMismatch if the namespace was migrated,
        NamespaceTooNew if a newer dueq writes there by now."""
        try:
            while not self._stop.requested:
                self.run_once()
        except (StrategyMismatch, NamespaceTooNew):
            self._ring_on()
            raise
        finally:
            self._strategy.close()
        return STOPPED

    def run_once(self) -> None:
        """Move what is due; if that was all, sleep until the next task is due or something wakes us."""
        self._telemetry.turn()
        part = "dispatch"
        try:
            asked = time.monotonic()
            result = self._strategy.dispatch(self._batch)
            # Redis told the time somewhere between question and answer: take the middle for the moment it spoke of
            told = (asked + time.monotonic()) / 2
            if self._trouble.passed(part):
                log.info("Redis is back")
            self._lead.answered(max((one.seconds for one in result.moved), default=None), result.next_in)
            self._telemetry.moved(result.moved, result.now_us)
            self._telemetry.conflicts(result.conflicts)
            if result.next_in != 0:
                part = "sleep"
                self._sleep(told, result.next_in)
                self._trouble.passed(part)
        except TRANSIENT as error:
            self._lead.interrupted()
            seconds = self._trouble.suffered(error, part)
            self._telemetry.turn(seconds)
            self._stop.sleep(seconds)

    def _ring_on(self) -> None:
        # the ring that woke this one was for a dispatcher of the other strategy; or others of this one have to hear it
        self._strategy.close()  # or it might go to the request that is open here
        try:
            self._transactions.trip(ring_dispatcher(self._keys))
        except TRANSIENT as error:
            log.warning("could not wake another dispatcher while stopping: %s", described(error))

    def _sleep(self, told: float, next_in: float | None) -> None:
        due = next_in is not None and next_in < self._safety_net
        left = told + (next_in if due and next_in is not None else self._safety_net) - time.monotonic()
        sleeps = self._lead.sleep(left) if due else left
        if sleeps <= 0:
            return
        self._telemetry.turn(sleeps)
        self._stop.forget_wakeups()
        woken_by = self._strategy.wait(sleeps, wakeup_fd=self._stop.fileno())
        if woken_by is not None:
            self._lead.interrupted()
        if not self._stop.requested:
            self._telemetry.woke(woken_by or ("due" if due else "safety_net"))
