"""A worker: take a due task, run it, settle it. One task at a time; one round trip per task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..app.application import Dueq
from ..client.failures import TRANSIENT, described
from ..client.listener import OVERDUE_S
from ..client.retry_loop import RetryLoop
from ..clock import ServerClock
from ..errors import DueqError, NamespaceTooNew, StrategyMismatch
from ..namespace import Namespace
from ..process import forks
from ..process.exit_status import ExitStatus
from ..process.stop import Stop
from ..schema.record import Record
from ..store.crowds import served
from ..store.values import Outcome
from ..telemetry.recorder import WorkerTelemetry
from .executor import Executor
from .heartbeat import Heartbeat
from .lease_extender import LeaseExtender
from .pipeline import ClaimPipeline
from .prefetch import Prefetch
from .recycling import NO_RECYCLING, Recycling
from .watch import LEAST_S, KeptWatch, WatchPage

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
        page: WatchPage | None = None,
        supervisor: str = "",
    ) -> None:
        """``renew`` is called after each task: it restores what the task may have changed in this process. ``page`` is
        shared with the other workers of ``supervisor``: while they sleep, one of them looks for all."""
        self.app, self.namespace, self.name = app, namespace, name
        self.queues = served(queues, in_turns=rotate_queues)
        self.telemetry = telemetry
        self._safety_net, self._prefetch = safety_net, Prefetch(prefetch)
        self._rotate = rotate_queues
        self._clock = ServerClock()
        self._loop = RetryLoop(log, telemetry)
        self._stop = stop
        self._outcome: Outcome | None = None  # of the last task
        self._looked_us = 0  # when the last sleep ended with a look for ready tasks that found none; 0: it did not
        self._known = 0  # how many tasks the application had when their names were published
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
        self._executor = Executor(app, namespace.keys.namespace, telemetry, self._clock, self._prefetch, renew)
        self._recycling, self._runs, self._spent = recycling, 0, False
        self._watch: KeptWatch | None = None
        if page is not None and safety_net >= LEAST_S:
            self._watch = KeptWatch(page, name, supervisor, self._clock, safety_net, self._awake)

    def run(self) -> int:
        """Work until stopped or at a limit; then settle, give back what is held, close, and return the exit status.

        Does the same before it raises StrategyMismatch, because another strategy owns the namespace by now, or
        NamespaceTooNew, because a newer dueq does.
        """
        forks.on_fork(self._executor.give_up)
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
        claim, leased_us = self._take()
        if claim is not None:
            self._run(claim, leased_us)

    # -- one step

    def _take(self) -> tuple[Record | None, int]:
        """The claim that starts now, and since when it is leased; the last outcome is settled by the same step.

        None if there is nothing to run, or after Redis has failed and some time has passed.
        """
        taken: tuple[Record | None, int] = None, 0
        with self._loop.turn("step"):
            if self.app.task_count != self._known:
                self._publish_names()
            looked_us = self._looked_us
            if not looked_us:
                taken = self._next()
                looked_us = taken[1]
            if taken[0] is None:
                self._loop.then("sleep")
                taken = self._idle(looked_us)
        if self._loop.pause:
            self.telemetry.turn(self._loop.pause)
            self._stop.sleep(self._loop.pause)
            return None, 0
        return taken

    def _run(self, claim: Record, leased_us: int) -> None:
        """Run the task; its outcome is settled by the next step."""
        self._extender.runs(claim)
        self._outcome = self._executor.execute(claim, leased_us)
        self._extender.running = None
        self._runs += 1
        self._spent = self._recycling.left(self._runs) == 0 or self._recycling.too_large()
        if self.telemetry.counters.draining:  # by a SIGTERM that the task may have taken for its own
            self._stop.request()

    def _publish_names(self) -> None:
        """Let the store take only tasks that this application defines. It may define some while it runs."""
        names = self.app.tasks
        self._pipeline.know(names)
        if self._watch is not None:
            self._watch.serves(self.queues, names)
        self._known = len(names)

    def _next(self) -> tuple[Record | None, int]:
        outcome, self._outcome = self._outcome, None
        if self._rotate:
            self.queues.append(self.queues.pop(0))
        return self._pipeline.step(self.queues, outcome, self._recycling.left(self._runs))

    # -- waiting and leaving

    def _idle(self, looked_us: int) -> tuple[Record | None, int]:
        """Sleep; the last look for ready tasks was at ``looked_us`` by Redis's clock."""
        self._looked_us = 0
        self._stop.forget_wakeups()
        if self._stop.requested:
            return None, 0
        self._awake()
        allowed = self._loop.allowed(self._safety_net)
        watch = self._watch if allowed == self._safety_net else None
        if watch is not None:
            watch.looked(looked_us)
        found = self._pipeline.sleep(self.queues, self._recycling.left(self._runs), allowed, watch)
        self.telemetry.turn()
        if found is not None and found[0] is None:
            self._looked_us = found[1]
        return found or (None, 0)

    def _awake(self) -> None:
        self.telemetry.turn(self._safety_net + OVERDUE_S)

    def _leave(self) -> None:
        # if Redis is away, the supervisor or the reaper gives back what this worker holds
        try:
            outcome, self._outcome = self._outcome, None
            self._pipeline.leave(outcome)
            self._wake_others()
        except TRANSIENT as error:
            log.warning("could not settle with Redis while stopping: %s", described(error))

    def _move_out(self) -> None:
        # a retry must be scheduled by the strategy that owns the namespace now
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
