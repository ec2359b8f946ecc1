"""A worker's own step without scripts: settle the last task, take and start the next. See store.py first.

A worker takes an entry of a ready list into its held list (RPOPLPUSH: one step, so that it is always in a list), and
then claims the task by writing its record. If it dies in between, giving back what it held finds the task.
Four round trips for an ack and the next task: read, settle and take, read, claim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import OutOfMemoryError

from ...client.protocol import LENIENT, Command
from ...client.transactions import Aborted, Session
from ...schema import ownership
from ...schema.bounds import MOST_TASKS
from ...schema.record import Record
from ...schema.wakeups import wake_dispatcher, wake_workers
from ..names import KnownNames
from ..tokens import SeenTokens
from ..unclaimed import Unclaimed, question
from ..values import Advance, Outcome, Settled, Step
from . import settle as settling
from .claim import Claiming, Claims, Starts, Taken
from .edit import Edit, entry_of
from .parts import Parts

_ROUNDS = 100


@dataclass(slots=True)
class _Progress:
    """The progress of one step."""

    worker: str
    queues: Sequence[str]
    lease_us: int
    want: int
    outcome: Outcome | None
    start: Record | None
    starts: Starts
    now_us: int = 0
    settled: Settled = ""
    started: Record | None = None
    looked_aside: bool = False
    taken: list[Taken] = field(default_factory=list)
    claims: Claims = field(default_factory=Claims)
    forgot: bool = False


class Advancing:
    """``Store.advance`` with WATCH/MULTI."""

    def __init__(self, parts: Parts, names: KnownNames, unclaimed: Unclaimed) -> None:
        self._parts, self._keys, self._transactions = parts, parts.keys, parts.transactions
        self._names, self._unclaimed, self._seen = names, unclaimed, SeenTokens()

    def advance(self, request: Step) -> Advance:
        """See ``Store.advance``."""
        worker, queues, lease_us, want, outcome, start, acks, start_all = request
        acked = [self._settled(worker, lease_us, claim) for claim in acks]
        queues = queues if want > 0 else ()
        starts: Starts = "all" if start_all else "first" if start is None else "none"
        step = _Progress(worker, queues, lease_us, min(want, MOST_TASKS), outcome, start, starts)
        self._settle_and_take(step)
        for left in reversed(range(_ROUNDS)):
            if step.taken:
                self._claim(step)
            if step.claims.records or not step.taken or not left:
                break
            step.outcome = step.start = None
            self._settle_and_take(step)  # all entries taken were void: there may be tasks behind them
        holding = self._look_around(step)
        held = list(step.claims.records)
        started = step.started or (held.pop(0) if held and start is None else None)
        self._unclaimed.wake(step.claims.aside)
        claims = step.claims
        return Advance(
            step.now_us, step.settled, claims.dropped, started, held, holding, step.forgot, claims.aside, acked
        )

    def _settled(self, worker: str, lease_us: int, claim: Record) -> Settled:
        """What became of one ack, by a transaction of its own: workers send several at once only where scripts run."""
        step = _Progress(worker, (), lease_us, 0, Outcome(claim, "ack"), None, "none")
        self._settle_and_take(step)
        return step.settled

    def _settle_and_take(self, step: _Progress) -> None:
        """Settle the outcome and start the held task, or else take entries, in two round trips."""
        step.taken = []

        def attempt(session: Session) -> None:
            ended = None if step.outcome is None else step.outcome.claim
            claims = [claim for claim in (ended, step.start) if claim is not None]
            raws, ready, kept_again = self._read(session, step, claims)
            now = step.now_us = self._parts.clock.now_us()
            edit, again = self._parts.edit(), None
            if step.outcome is not None:
                step.settled, again = settling.settle(
                    edit, step.worker, step.outcome, raws[step.outcome.claim.id], kept_again, now
                )
            if step.start is not None:
                until = now + step.lease_us
                step.started = settling.start(edit, step.worker, step.start, raws[step.start.id], until)
            picks = [] if step.taken else _picks(step.queues, ready, step.want)
            self._commit(session, step, edit, again, picks, now)

        try:
            self._transactions.run(attempt)
        except OutOfMemoryError:
            edit = self._parts.edit()
            if step.outcome is None or not step.outcome.is_over:
                raise
            now = self._parts.clock.now_us()
            settled = settling.ack_when_full(self._transactions, edit, step.worker, step.outcome.claim, now)
            if settled is None or step.want > 0 or step.start is not None:
                raise  # repeated, the outcome is known to be settled; but taking and starting must wait for memory
            step.settled = settled

    def _read(
        self, session: Session, step: _Progress, claims: Sequence[Record]
    ) -> tuple[dict[str, Any], list[int], bytes | None]:
        """The records of ``claims``, the lengths of the ready lists, and the next run that the ended task asked for.

        Tasks put aside whose names this worker knows are made ready first: they have waited longest. Raises
        StrategyMismatch.
        """
        shards = [self._keys.record(claim.id) for claim in claims]
        session.watch(*shards)
        touches_index = bool(step.outcome and step.outcome.runs_on)
        ends: list[Command] = []
        if step.outcome is not None and not touches_index:
            ends.append(("HGET", self._keys.plain("again"), step.outcome.claim.id))
        if touches_index:
            session.watch(self._keys.plain("meta"))
        kept, aside, *replies = session.read(
            [
                ownership.question(self._keys),
                question(self._keys),
                *(("HGET", key, claim.id) for key, claim in zip(shards, claims, strict=True)),
                *(("LLEN", self._keys.of("ready", queue)) for queue in step.queues),
                *ends,
            ]
        )
        again = replies.pop() if ends else None
        if again is not None:  # seldom: so this step touches the index, too
            session.watch(self._keys.plain("meta"))
            [kept] = session.read([ownership.question(self._keys)])
        if touches_index or step.queues or again is not None:
            ownership.require(self._keys, self._parts.index.ownership, kept, settled=bool(step.queues))
        if aside is not None and step.queues and not step.looked_aside:
            step.looked_aside = True
            self._unclaimed.take_back(step.queues, step.want)
            return self._read(session, step, claims)
        return {claim.id: raw for claim, raw in zip(claims, replies, strict=False)}, replies[len(claims) :], again

    def _commit(
        self, session: Session, step: _Progress, edit: Edit, again: Record | None, picks: Sequence[str], now: int
    ) -> None:
        workers: Command = ("ZADD", self._keys.plain("workers"), now + step.lease_us, step.worker)
        if step.started is not None:
            edit.commands.append(workers)
        held = self._keys.of("held", step.worker)
        take: list[Command] = [("RPOPLPUSH", self._keys.of("ready", queue), held) for queue in picks]
        if take:
            take.insert(0, workers)  # first, so that the reaper looks after what this worker holds from then on
        head = [self._parts.index.head(entry_of(again))] if again is not None else []
        try:
            done, rest = session.commit([*edit.commands, *head], take)
        except Aborted as aborted:
            _note(step, picks, aborted.rest)
            raise
        _note(step, picks, rest)
        if again is not None and self._parts.index.leads(done[-1], entry_of(again)):
            session.read(wake_dispatcher(self._keys))

    def _claim(self, step: _Progress) -> None:
        """Claim what was taken, in two round trips; in more if it is large."""
        left: Sequence[Taken] = step.taken
        while left:
            left = left[self._claim_first(step, left) :]

    def _claim_first(self, step: _Progress, taken: Sequence[Taken]) -> int:
        """Claim the first of the entries ``taken``; returns how many entries that were."""

        def attempt(session: Session) -> Claiming:
            claiming = Claiming(session, self._keys, self._parts.index, self._names, step.worker)
            starts: Starts = "none" if step.starts == "first" and step.claims.records else step.starts
            mine = claiming.decide(taken, self._parts.clock, step.lease_us, self._seen, starts)
            step.now_us = claiming.now_us
            step.forgot = step.forgot or claiming.forgot
            if mine:
                life: Command = ("ZADD", self._keys.plain("workers"), step.now_us + step.lease_us, step.worker)
                session.commit([*claiming.edit.commands, *([life] if claiming.claims.records else [])])
            return claiming

        claiming = self._transactions.run(attempt)
        self._seen.saw(claiming.claims.records)
        step.claims.records += claiming.claims.records
        step.claims.dropped += claiming.claims.dropped
        step.claims.aside += claiming.claims.aside
        return claiming.decided

    def _look_around(self, step: _Progress) -> int:
        """Wake other workers for tasks that are left, and clear the wake-ups of empty queues; returns how many tasks
        this worker holds."""
        held = self._keys.of("held", step.worker)
        replies = self._transactions.trip(
            [
                ("LLEN", held),
                *(("LLEN", self._keys.of("ready", queue)) for queue in step.queues),
                *(("ZSCORE", self._keys.plain("busy"), queue) for queue in step.queues),
            ]
        )
        holding, ready, busy = int(replies[0]), replies[1 : len(step.queues) + 1], replies[len(step.queues) + 1 :]
        wakeups: list[Command] = []
        for queue, waiting, mark in zip(step.queues, ready, busy, strict=True):
            if waiting:
                # for every queue: the wake-up that this worker received may have been for another than it takes from
                wakeups += wake_workers(self._keys, queue, 1)
            elif mark is not None:
                self._silence(queue)
        self._transactions.trip(wakeups)
        if not holding:
            self._retire(step.worker)
        return holding

    def _silence(self, queue: str) -> None:
        """If nothing is ready in ``queue``, it is not busy any more, and its wake-ups are dropped."""

        def attempt(session: Session) -> None:
            ready = self._keys.of("ready", queue)
            session.watch(ready)
            if not session.read([("LLEN", ready)])[0]:
                session.commit([("ZREM", self._keys.plain("busy"), queue), ("DEL", self._keys.of("wakeup", queue))])

        self._tidy(attempt)

    def _retire(self, worker: str) -> None:
        """Take a worker that holds nothing off ``workers``: it owes no sign of life."""

        def attempt(session: Session) -> None:
            held, workers = self._keys.of("held", worker), self._keys.plain("workers")
            session.watch(held)
            holding, life = session.read([("LLEN", held), ("ZSCORE", workers, worker)])
            if not holding and life is not None:
                session.commit([("ZREM", workers, worker)])

        self._tidy(attempt)

    def _tidy(self, attempt: Callable[[Session], None]) -> None:
        with suppress(OutOfMemoryError):  # at maxmemory Redis refuses it in MULTI, but nothing depends on it
            self._transactions.run(attempt)


def _picks(queues: Sequence[str], ready: Sequence[int], want: int) -> list[str]:
    """The queues to take an entry from, ``want`` of them, the first queues first."""
    picks: list[str] = []
    for queue, waiting in zip(queues, ready, strict=True):
        picks += [queue] * min(waiting, want - len(picks))
    return picks


def _note(step: _Progress, picks: Sequence[str], replies: Sequence[Any]) -> None:
    """Note which of ``picks`` gave an entry; the first reply is that of the ZADD."""
    for queue, raw in zip(picks, replies[1:], strict=bool(picks)):
        if raw is not None:
            step.taken.append(Taken(queue, raw.decode(errors=LENIENT)))
