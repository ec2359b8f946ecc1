"""What a worker has in hand: tasks that it holds, steps on their way to Redis, outcomes in doubt.

A worker that holds the next task already need not wait until Redis has answered: it sends off the outcome of the last
one and the start of the next, both at once, and begins. That is safe since nobody else gives up what a living worker
holds (a cancel comes too late for it), for as long as Redis has heard of the worker lately: that is what ``_trusted``
is about. If word of a start comes too late after all, the start is counted as a duplicate.

Used by the worker's main thread between tasks, and by its lease extender while one runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..app import context
from ..client.connection import TRANSIENT
from ..clock import US, ServerClock
from ..schema.record import Record, task_of
from ..store.base import Advance, Aside, Outcome, Store
from ..store.names import NEWER
from ..store.unclaimed import legible
from ..telemetry.logs import about
from ..telemetry.recorder import WorkerTelemetry
from .prefetch import Prefetch

log = logging.getLogger("dueq.worker")


_ENDED = 1000  # tasks whose end is remembered, for the case that Redis loses it
_SAY_LOSS_S = 60.0  # a loss of data is said once: what is found so soon after it belongs to it
_STRANGE = 1000  # names that are remembered
_CLOCK_AGE_S = 5.0  # after so long without hearing Redis's time at once, it is asked before a sleep


@dataclass(slots=True)
class _Sent:
    """A step that is on its way.

    ``least`` is how many tasks Redis must count as ours when it has done it, besides those that it takes. ``begun``:
    the held task that it starts runs, or has run, before it is answered.
    """

    outcome: Outcome | None
    start: Record | None
    want: int
    least: int
    sent_ns: int
    begun: bool = False


class ClaimPipeline:
    """The claim pipeline of one worker."""

    def __init__(
        self,
        store: Store,
        worker: str,
        queues: Sequence[str],
        telemetry: WorkerTelemetry,
        clock: ServerClock,
        prefetch: Prefetch,
        *,
        lease: float,
        max_losses: int,
        wakeup_fd: int = -1,
    ) -> None:
        self._queues, self._wakeup_fd = queues, wakeup_fd
        self._worker, self._telemetry, self._clock, self._prefetch = worker, telemetry, clock, prefetch
        self._lease_us, self._trust_s, self._max_losses = int(lease * US), lease / 2, max_losses
        self._lock = threading.Lock()
        self._held: deque[Record] = deque()
        self._sent: deque[_Sent] = deque()
        self._taking = False
        self._trusted = 0.0  # until when (monotonic seconds) nobody can have taken what is held
        self._last: Outcome | None = None  # of the task that has just ended, until it is sent off
        self._doubtful: deque[Outcome] = deque()
        self._unconfirmed: set[int] = set()  # tokens of tasks that were begun, but word of the start may be lost
        self._strange: set[str] = set()  # names of which it was said that they are not known here
        self._unsure = False  # an answer was lost: Redis may have given us claims that we do not know of
        self._ended: deque[int] = deque(maxlen=_ENDED)  # tokens of the tasks that were settled last
        self._said_loss_at = -_SAY_LOSS_S
        self.use(store)

    def know(self, names: Iterable[str]) -> None:
        """Take tasks only that are called so; the store puts others aside. Raises what the store does."""
        with self._lock:
            self._receive()
            self._channel.close()
            self._store.knows(names)
            self.use(self._store)

    def use(self, store: Store) -> None:
        """Go by this store from now on; nothing must be on its way."""
        self._store, self._channel = store, store.channel(self._queues, self._wakeup_fd)

    @property
    def loose_ends(self) -> bool:
        """Whether tasks are held that have not begun, or steps not answered."""
        return bool(self._held or self._sent)

    # -- by the main thread, between tasks

    def step(self, queues: Sequence[str], outcome: Outcome | None, most: int | None) -> tuple[Record | None, int]:
        """Settle the outcome of the last task, and say which may begin now, and since when it is leased.

        That is in microseconds by Redis's clock. ``most`` is how many tasks the worker may still run, None: any number.
        Raises what the store does; the outcome is in doubt then, and settled before anything else the next time.
        """
        with self._lock:
            self._last = outcome
            if self._unsure or self._doubtful:
                self._doubt_last()
                self._receive()  # or answers would bring what is given back now
                self._make_sure()
            if not self._held and self._taking:
                self._receive()
            while self._held:
                start = self._held.popleft().started()
                alone = not self._prefetch.is_short(task_of(start.body))  # nothing is to wait behind it
                sent = self._send(queues, start, 0 if alone else self._wanted(most, starts=1))
                if len(self._sent) > self._channel.ahead > 0:
                    self._receive(self._channel.ahead // 2)
                sent.begun = self._may_begin() and not (alone and (self._held or self._taking))
                if sent.begun:
                    return start, self._clock.earliest_us()
                started = self._receive().started
                if alone:
                    self._release()
                if started is not None:
                    return start, self._clock.earliest_us()
                # else it was taken from us
            self._send(queues, None, self._wanted(most))
            last = self._receive()
            return last.started, last.now_us

    def sleep(self, queues: Sequence[str], most: int | None, seconds: float) -> tuple[Record | None, int] | None:
        """When ``step`` has nothing to do: sleep until something is ready, for about ``seconds`` at most.

        Returns what ``step`` does, None if that is to be asked. Raises what the store does.
        """
        if self._unsure or self._doubtful:
            return None
        if self._clock.age_s > _CLOCK_AGE_S:
            sent_ns = time.monotonic_ns()
            self._clock.observe(self._store.time_us(), sent_ns, time.monotonic_ns())
        want, sent_ns = self._wanted(most), time.monotonic_ns()
        try:
            woken = self._channel.sleep(self._worker, queues, self._lease_us, want, seconds)
        except BaseException:
            self._fail()
            raise
        if woken == "unknown":
            self._unsure = True
        if woken != "sent":
            return None
        with self._lock:
            self._sent.append(_Sent(None, None, want, 0, sent_ns))
            last = self._receive()
            return last.started, last.now_us

    def leave(self, outcome: Outcome | None) -> None:
        """Settle the last outcome and give back what is held. Raises what the store does."""
        with self._lock:
            self._last = outcome
            self._doubt_last()
            with suppress(*TRANSIENT):  # what is not heard of is in doubt, too
                self._receive()
            self._make_sure()
            self._channel.close()

    # -- by the lease extender, while a task runs

    def tidy(self, *, release: bool) -> None:
        """Hear what was answered meanwhile, settle what is in doubt, and ``release`` what is held to other workers.

        Raises what the store does.
        """
        with self._lock:
            if self._sent:
                self._receive()
            if self._doubtful:
                self._settle_doubtful()
            if release:
                self._release()

    # -- sending and receiving

    def _may_begin(self) -> bool:
        """Whether a held task may begin before Redis has answered."""
        return self._channel.ahead > 0 and not self._unsure and time.monotonic() < self._trusted

    def _wanted(self, most: int | None, *, starts: int = 0) -> int:
        """How many to take with a step that ``starts`` so many: when less than half is left in hand."""
        size, have = self._prefetch.want, len(self._held) + starts
        if self._taking or have > (size // 2 if self._channel.ahead else 0):
            return 0
        return size - have if most is None else max(0, min(size, most) - have)

    def _send(self, queues: Sequence[str], start: Record | None, want: int) -> _Sent:
        """Send off a step that settles the last outcome, unless one before it did."""
        outcome, self._last = self._last, None
        sent = _Sent(outcome, start, want, len(self._held) + (start is not None), time.monotonic_ns())
        self._sent.append(sent)
        self._taking = self._taking or want > 0
        try:
            self._channel.send(self._worker, queues, self._lease_us, want=want, outcome=outcome, start=start)
        except BaseException:
            self._fail()
            raise
        return sent

    def _receive(self, leave: int = 0) -> Advance:
        """Hear answers until only ``leave`` steps wait for theirs; returns the last."""
        step = Advance(0, "", [], None, [], 0)
        while len(self._sent) > leave:
            step = self._receive_one()
        return step

    def _receive_one(self) -> Advance:
        try:
            step = self._channel.receive()
        except BaseException:
            self._fail()
            raise
        sent = self._sent.popleft()
        self._clock.observe(step.now_us, sent.sent_ns, time.monotonic_ns())
        taken = len(step.held) + (sent.start is None and step.started is not None)
        for later in self._sent:
            later.least += taken
        if step.holding - taken < sent.least or (sent.start is not None and step.started is None):
            self._trusted, self._unsure = 0.0, True  # once something was taken from us, anything may have been
        elif not self._unsure:
            self._trusted = sent.sent_ns / 1e9 + self._trust_s
        if sent.want:
            self._taking = False
            self._prefetch.found(taken, sent.want)
        if sent.outcome is not None:
            self._settled(sent.outcome, step)
        if sent.start is not None and step.started is None and sent.begun:
            self._begun_too_late(sent.start, step.now_us)
        if step.dropped:
            self._telemetry.dropped(step.dropped)
        if step.forgot:
            self._lost_data()
        if step.aside:
            self._put_aside(step.aside, step.now_us)
        self._held.extend(step.held)
        if step.started is not None and not sent.begun and self._clock.latest_us() - step.now_us > self._trust_s * US:
            # this process stood still since Redis said so: by now another may have it
            step, self._unsure = step._replace(started=None), True
        if not self._sent and step.holding > len(self._held) + (step.started is not None):
            self._unsure = True  # an earlier request arrived after we had given it up, and took tasks in our name
        return step

    def _fail(self) -> None:
        """What is on its way is lost, or not: nobody knows."""
        self._channel.close()
        self._unsure, self._taking = True, False
        for sent in self._sent:
            if sent.outcome is not None:
                self._doubtful.append(sent.outcome)
            if sent.start is not None and sent.begun:
                self._unconfirmed.add(sent.start.token)
        self._sent.clear()
        self._doubt_last()

    # -- outcomes

    def _doubt_last(self) -> None:
        if self._last is not None:
            self._doubtful.append(self._last)
            self._last = None

    def _release(self) -> None:
        """Let other workers have what is held."""
        if self._held:
            held = list(reversed(self._held))  # the first goes back last, to the very head
            self._held.clear()  # first: what is given away must not begin here
            sure, self._unsure = not self._unsure, True  # until it turns out to have been done
            self._store.release(self._worker, held)
            self._unsure = not sure

    def _make_sure(self) -> None:
        # Outcomes are settled by their tokens, so asking again is safe; whatever else this worker is said to hold,
        # it never learnt of, or never began.
        self._settle_doubtful()
        self._held.clear()
        given_back = self._store.give_back(self._worker, "unstarted", self._max_losses, begun=self._ended)
        if any(claim.how == "started" for claim in given_back):
            self._lost_data()
            self._telemetry.lost(given_back, self._clock.latest_us(), "lease_expired", worker=self._worker)
        self._unconfirmed.clear()
        self._unsure = False

    def _settle_doubtful(self) -> None:
        while self._doubtful:
            outcome = self._doubtful[0]
            step = self._store.advance(self._worker, (), self._lease_us, want=0, outcome=outcome)
            self._doubtful.popleft()
            self._settled(outcome, step, sent_again=self._unsure)

    def _settled(self, outcome: Outcome, step: Advance, *, sent_again: bool = False) -> None:
        how, token = step.settled, outcome.claim.token
        # asked again, a record that is gone or claimed anew shows that the first request had arrived (an ack leaves
        # none to claim, unless the task asked to run after itself); but not if word of the start was lost, too, and
        # others may have been given the task by now
        others = token in self._unconfirmed and time.monotonic() >= self._trusted + self._trust_s
        runs_on = outcome.kind == "retry" or token in context.rescheduled_itself
        context.rescheduled_itself.discard(token)
        arrived = sent_again and not others and (how == "missing" or (how == "stale" and runs_on))
        if how in ("done", "repeated") or arrived:
            self._ended.append(token)
            self._telemetry.finished(outcome, step.now_us)
        else:
            self._telemetry.stale(outcome, step.now_us)
            log.warning(
                "task %s, token %s: its result is refused, since another worker took it over (or it was purged)",
                outcome.claim.id,
                token,
                extra=about(outcome.claim),
            )

    def _lost_data(self) -> None:
        """Redis knows less than it told this worker before: what was held here may be another's by now."""
        self._trusted, self._unsure = 0.0, True
        if time.monotonic() < self._said_loss_at + _SAY_LOSS_S:
            return
        self._said_loss_at = time.monotonic()
        log.warning(
            "Redis has lost data that it had confirmed to this worker (a power cut, a failover, eviction or FLUSHALL): "
            "tasks that it forgot will not run, tasks whose end it forgot run again, counted as lease_expired where a "
            "worker remembers the end; see docs/operations.md, When Redis has lost data"
        )

    def _put_aside(self, aside: Sequence[Aside], now_us: int) -> None:
        self._telemetry.put_aside(aside, now_us)
        for one in aside:
            if one.name not in self._strange and len(self._strange) < _STRANGE:
                self._strange.add(one.name)
                what = (
                    "was written by a newer dueq"
                    if one.name == NEWER
                    else f"calls {legible(one.name)!r}, not defined here"
                )
                log.warning(
                    "task %s of queue %s %s: put aside, not started, until a worker comes that knows it (said once for "
                    "each name)",
                    one.id,
                    one.queue,
                    what,
                )

    def _begun_too_late(self, claim: Record, now_us: int) -> None:
        self._telemetry.begun_too_late(claim, now_us)
        log.warning(
            "task %s, token %s: when it began it had been taken from this worker, which Redis had not heard of lately",
            claim.id,
            claim.token,
            extra=about(claim),
        )
