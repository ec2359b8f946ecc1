"""What a worker has in hand: tasks that it holds, steps on their way to Redis, outcomes in doubt.

A worker that already holds the next task need not wait until Redis has replied: it sends the outcome of the last task
and the start of the next, both at once, and begins. That is safe as long as Redis has heard of the worker lately (see
standing.py): nobody takes what a living worker holds, and a held task cannot be cancelled. If Redis learns of a start
too late after all, the start is counted as a duplicate.

Short tasks need no word each: a step that takes several of them has Redis count all as started, and their acks are put
off until one step settles many (see outcomes.py).

The worker's main thread uses the pipeline between tasks, and the lease extender while a task runs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from ..client.failures import TRANSIENT
from ..clock import US, ServerClock
from ..schema.record import Record, task_of
from ..schema.states import State
from ..store.base import Store, Watch
from ..store.values import Advance, Loss, Outcome, Step
from ..telemetry.recorder import WorkerTelemetry
from .ends import Ends
from .outcomes import MOST_UNDER_WAY, Outcomes
from .prefetch import Prefetch
from .reports import Reports
from .standing import Standing, Trust

_CLOCK_AGE_S = 5.0  # after so long without a prompt reply, the worker reads Redis's clock before a sleep


@dataclass(slots=True)
class _Sent:
    """A step that is on its way.

    ``least`` is how many tasks Redis must count as ours when it has done the step, besides those that the step takes.
    ``begun``: the held task that it starts runs, or has run, before the reply is there. ``beside``: a task begins that
    needs no start, so none of those that the step takes does.
    """

    acks: Sequence[Outcome]
    outcome: Outcome | None
    start: Record | None
    want: int
    least: int
    sent_ns: int
    begun: bool = False
    beside: bool = False

    @property
    def settles(self) -> int:
        """How many outcomes the step settles."""
        return len(self.acks) + (self.outcome is not None)


class _Held(NamedTuple):
    """A task that the worker holds; if the step that took it started it, it may begin until ``begin_by``, in monotonic
    seconds."""

    claim: Record
    begin_by: float


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
        self._lease_us, self._max_losses = int(lease * US), max_losses
        self._standing, self._reports = Standing(lease), Reports(telemetry)
        self._lock = threading.Lock()
        self._held: deque[_Held] = deque()
        self._sent: deque[_Sent] = deque()
        self._taking = False  # a step that takes tasks is on its way
        self._busy = False  # a task runs
        self._outcomes = Outcomes()
        self._ends = Ends(telemetry, self._reports, self._standing)
        self.use(store)

    def know(self, names: Iterable[str]) -> None:
        """Take only tasks with these names; the store puts others aside. Raises what the store does."""
        with self._lock:
            self._receive()
            self._channel.close()
            self._store.knows(names)
            self.use(self._store)

    def use(self, store: Store) -> None:
        """Use this store from now on; no step may be on its way."""
        self._store, self._channel = store, store.channel(self._queues, self._wakeup_fd)

    @property
    def loose_ends(self) -> bool:
        """Whether tasks are held that have not begun, acks are put off, or replies to steps are still to come."""
        return bool(self._held or self._sent or self._outcomes.put_off)

    # -- by the main thread, between tasks

    def step(self, queues: Sequence[str], outcome: Outcome | None, most: int | None) -> tuple[Record | None, int]:
        """Settle the outcome of the last task; returns the claim that may begin now, and since when it is leased.

        The time is microseconds by Redis's clock. ``most`` is how many tasks the worker may still run, None: any
        number. Raises what the store does; the outcome is in doubt then, and settled before anything else the next
        time.
        """
        with self._lock:
            self._busy = False
            self._outcomes.ended(outcome)
            if self._standing.unsure or self._outcomes.in_doubt:
                self._outcomes.settle_first()
                self._receive()  # first: a later reply would bring tasks that are given back now
                self._make_sure()
            if not self._held and self._taking:
                self._receive()
            while self._held:
                if (claim := self._first(queues, most)) is not None:
                    self._busy = True
                    return claim, self._clock.earliest_us()
            self._send(queues, None, self._wanted(most))
            last = self._receive()
            self._busy = last.started is not None
            return last.started, last.now_us

    def sleep(
        self, queues: Sequence[str], most: int | None, seconds: float, watch: Watch | None = None
    ) -> tuple[Record | None, int] | None:
        """When ``step`` has nothing to do: sleep until something is ready, for about ``seconds`` at most, or as long as
        ``watch`` is kept.

        Returns what ``step`` does; None if ``step`` is to be called. Raises what the store does.
        """
        if self._standing.unsure or self._outcomes.in_doubt:
            return None
        if self._clock.age_s > _CLOCK_AGE_S:
            sent_ns = time.monotonic_ns()
            self._clock.observe(self._store.time_us(), sent_ns, time.monotonic_ns())
        want, sent_ns = self._wanted(most), time.monotonic_ns()
        try:
            step = Step(self._worker, queues, self._lease_us, want, start_all=self._starts_all())
            woken = self._channel.sleep(step, seconds, watch)
        except BaseException:
            self._fail()
            raise
        if woken == "unknown":
            self._standing.doubted()
        if woken != "sent":
            return None
        with self._lock:
            self._sent.append(_Sent((), None, None, want, 0, sent_ns))
            last = self._receive()
            self._busy = last.started is not None
            return last.started, last.now_us

    def leave(self, outcome: Outcome | None) -> None:
        """Settle the last outcome and give back what is held. Raises what the store does."""
        with self._lock:
            self._busy = False
            self._outcomes.ended(outcome)
            self._outcomes.settle_first()
            with suppress(*TRANSIENT):  # an outcome without a reply is in doubt, too
                self._receive()
            self._make_sure()
            self._channel.close()

    # -- by the lease extender, while a task runs

    def tidy(self, *, release: bool) -> None:
        """Settle what is put off or in doubt, receive the replies that came, and ``release`` held tasks to others.

        Raises what the store does.
        """
        with self._lock:
            if self._outcomes.put_off:
                self._send((), None, 0)
            if self._sent:
                self._receive()
            if self._outcomes.in_doubt:
                self._settle_what_is_in_doubt()
            if release:
                self._release()

    # -- sending and receiving

    def _first(self, queues: Sequence[str], most: int | None) -> Record | None:
        """Begin the first of the tasks that are held; None if it was taken from this worker, or is given back."""
        claim, begin_by = self._held[0]
        if claim.state == State.LEASED and time.monotonic() >= begin_by:
            self._release()  # its lease has run for long: whoever takes it next has a whole one
            return None
        self._held.popleft()
        alone = not self._prefetch.is_short(task_of(claim.body))  # nothing is to wait behind it
        want = 0 if alone else self._wanted(most, starts=1)
        if not alone and claim.state == State.LEASED and self._may_begin():
            if want or not self._outcomes.can_wait():
                self._send(queues, claim, want, beside=True)
                self._keep_up()
                want = 0
            if self._may_begin():  # replies may have told otherwise
                return claim
        sent = self._send(queues, claim.started(), want)
        self._keep_up()
        ahead = claim.state == State.HELD and self._may_begin()
        sent.begun = ahead and not (alone and (self._held or self._taking))
        if sent.begun:
            return sent.start
        started = self._receive().started
        if alone:
            self._release()
        return started

    def _keep_up(self) -> None:
        """Receive replies, so that not too many are under way."""
        if len(self._sent) > self._channel.ahead > 0:
            self._receive(self._channel.ahead // 2)
        while sum(sent.settles for sent in self._sent) > MOST_UNDER_WAY:
            self._receive_one()

    def _may_begin(self) -> bool:
        """Whether a held task may begin before Redis has replied."""
        return self._channel.ahead > 0 and self._standing.trust() is Trust.TRUSTED

    def _starts_all(self) -> bool:
        """Whether a step is to start all tasks that it takes."""
        return self._channel.ahead > 0 and self._prefetch.all_short

    def _wanted(self, most: int | None, *, starts: int = 0) -> int:
        """How many to take with a step that starts ``starts``: none while over half of the number wanted is in hand."""
        size, have = self._prefetch.want, len(self._held) + starts
        if self._taking or have > (size // 2 if self._channel.ahead else 0):
            return 0
        return size - have if most is None else max(0, min(size, most) - have)

    def _send(self, queues: Sequence[str], begins: Record | None, want: int, *, beside: bool = False) -> _Sent:
        """Send a step that settles all outcomes that are not sent yet, as ``begins`` begins.

        The step starts ``begins``; ``beside`` says that it need not.
        """
        acks, outcome = self._outcomes.take()
        start, least = None if beside else begins, len(self._held) + (begins is not None or self._busy)
        sent = _Sent(acks, outcome, start, want, least, time.monotonic_ns(), beside=beside)
        self._sent.append(sent)
        self._taking = self._taking or want > 0
        claims = [ack.claim for ack in acks]
        step = Step(self._worker, queues, self._lease_us, want, outcome, start, claims, self._starts_all())
        try:
            self._channel.send(step)
        except BaseException:
            self._fail()
            raise
        return sent

    def _receive(self, leave: int = 0) -> Advance:
        """Receive replies until only ``leave`` steps wait for theirs; returns what the last step did."""
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
        if sent.beside and step.started is not None:
            step = step._replace(started=None, held=[step.started, *step.held])
        self._judge(sent, step)
        for ack, how in zip(sent.acks, step.acked, strict=True):
            self._ends.settled(ack, how, step.now_us)
        if sent.outcome is not None:
            self._ends.settled(sent.outcome, step.settled, step.now_us)
        if sent.start is not None and step.started is None and sent.begun:
            self._reports.begun_too_late(sent.start, step.now_us)
        if step.dropped:
            self._telemetry.dropped(step.dropped)
        if step.forgot:
            self._lost_data()
        if step.aside:
            self._reports.put_aside(step.aside, step.now_us)
        self._held.extend(self._held_by(step))
        if step.started is not None and not sent.begun and self._is_late(step):
            step = step._replace(started=None)  # by now another worker may have it
            self._standing.doubted()
        busy = self._busy or (step.started is not None and not sent.begun)
        if not self._sent and step.holding > len(self._held) + self._outcomes.waiting + busy:
            self._standing.doubted()  # an earlier step arrived after we had given it up, and took tasks in our name
        return step

    def _judge(self, sent: _Sent, step: Advance) -> None:
        """Learn from a reply how this worker stands with Redis, and how many tasks there are to take."""
        taken = len(step.held) + (sent.start is None and step.started is not None)
        for later in self._sent:
            later.least += taken
        if step.holding - taken < sent.least or (sent.start is not None and step.started is None):
            self._standing.robbed()
        else:
            self._standing.heard(sent.sent_ns / 1e9)
        if sent.want:
            self._taking = False
            self._prefetch.found(taken, sent.want)

    def _held_by(self, step: Advance) -> Iterable[_Held]:
        """The tasks that a step has taken, besides the one that it started for this worker to begin at once."""
        begin_by = time.monotonic() + self._standing.start_window_s - self._age_s(step) if step.held else 0.0
        return (_Held(claim, begin_by) for claim in step.held)

    def _is_late(self, step: Advance) -> bool:
        """Whether this process stood still since Redis said that a task starts."""
        return self._age_s(step) > self._standing.window_s

    def _age_s(self, step: Advance) -> float:
        """How long ago Redis did a step, at most."""
        return (self._clock.latest_us() - step.now_us) / US

    def _fail(self) -> None:
        """After an error: Redis may have done any of the steps on their way."""
        self._channel.close()
        self._standing.doubted()
        self._taking = False
        for sent in self._sent:
            self._outcomes.doubt(sent.acks, sent.outcome)
            self._ends.acks_in_doubt(sent.acks)
            if sent.start is not None and sent.begun:
                self._ends.start_in_doubt(sent.start.token)
        self._sent.clear()
        self._outcomes.settle_first()

    # -- outcomes

    def _release(self) -> None:
        """Let other workers have what is held."""
        if self._held:
            held = [item.claim for item in reversed(self._held)]  # the first goes back last, to the very head
            self._held.clear()  # first: what is given away must not begin here
            with self._standing.unsure_until_done():
                self._store.release(self._worker, held)

    def _make_sure(self) -> None:
        # Outcomes are settled by their tokens, so sending them again is safe. Of the other tasks that Redis counts as
        # this worker's, the worker never learnt, or it never began them.
        self._settle_what_is_in_doubt()
        self._held.clear()
        given_back = self._store.give_back(Loss(self._worker, "unstarted", self._max_losses, begun=self._ends.last))
        if any(claim.how == "started" for claim in given_back):
            self._lost_data()
            self._telemetry.lost(given_back, self._clock.latest_us(), "lease_expired", worker=self._worker)
        self._ends.made_sure()
        self._standing.made_sure()

    def _settle_what_is_in_doubt(self) -> None:
        in_doubt = self._outcomes.in_doubt
        while in_doubt:
            outcome, was_sent = in_doubt[0]
            in_doubt[0] = outcome, True
            step = self._store.advance(Step(self._worker, (), self._lease_us, 0, outcome))
            in_doubt.popleft()
            self._ends.settled(outcome, step.settled, step.now_us, sent_again=was_sent and self._standing.unsure)

    def _lost_data(self) -> None:
        """Redis knows less than it had confirmed before: what was held here may be another's by now."""
        self._standing.robbed()
        self._reports.lost_data()
