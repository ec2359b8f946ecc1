"""From an entry of a ready list, taken into a worker's held list, to a claim: decided entry by entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...client.protocol import LENIENT
from ...client.transactions import Session
from ...clock import Clock
from ...schema import ownership
from ...schema.bounds import first_step
from ...schema.keys import Keys
from ...schema.quarantine import Oddity, oddity, put_away
from ...schema.record import Record, is_call, number, readable_record, task_of
from ...schema.states import State
from ...schema.wakeups import wake_dispatcher
from ..names import NEWER, KnownNames
from ..strategy import TransactionalStrategy
from ..tokens import SeenTokens, first_token, has_lost
from ..unclaimed import put_aside
from ..values import Aside
from .edit import Edit, entry_of

Starts = Literal["none", "first", "all"]
"""Which of the claims that a step takes it starts."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An entry of a ready list that a worker has taken: its queue, and the task's id."""

    queue: str
    id: str


@dataclass(slots=True)
class Claims:
    """What came of some entries: claims, the first one started if required; queues of entries that were dispatched
    twice; tasks put aside."""

    records: list[Record] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)


class Claiming:
    """One attempt to claim what ``worker`` has just taken."""

    def __init__(
        self, session: Session, keys: Keys, index: TransactionalStrategy, names: KnownNames, worker: str
    ) -> None:
        self.edit = Edit(keys, index)
        self.claims = Claims()
        self.now_us = self.decided = 0
        self.forgot = False
        """Whether Redis has lost data: it knows of no token as high as one that it gave this process."""
        self._session, self._keys, self._index, self._names, self._worker = session, keys, index, names, worker
        self._void: dict[str, int] = {}
        self._done: set[str] = set()
        self._readded = False

    def decide(self, taken: Sequence[Taken], clock: Clock, lease_us: int, seen: SeenTokens, starts: Starts) -> bool:
        """Read the entries, and decide on the first ``decided`` of them; start as many claims as ``starts`` says.

        False if the entries are not this worker's any more. The tokens are above all in ``seen``.
        """
        raws, last = self._read(taken)
        # the clock is read once all is watched: no dispatcher by the same clock has moved a task that is not due now
        self.now_us = clock.now_us()
        if not raws:
            self.decided = len(taken)
            return False
        self.decided = first_step(len(raw or b"") for raw in raws)
        token = first_token(last, self.now_us, seen.highest)
        for entry, raw in list(zip(taken, raws, strict=True))[: self.decided]:
            record = None if entry.id in self._done else readable_record(entry.id, raw)
            self._done.add(entry.id)
            ours = record is not None and record.state == State.SCHEDULED and record.queue == entry.queue
            if record is not None and ours and record.due_us <= self.now_us:
                start = starts == "all" or (starts == "first" and not self.claims.records)
                token += self._claim(record, token, self.now_us + lease_us, start=start)
            elif odd := oddity(entry.id, raw):
                self._set_apart(entry, odd, raw)
            else:
                self._drop(entry, record if ours else None)
        put_aside(self.edit, self.claims.aside, self.now_us)
        if self.claims.records:
            self.forgot = has_lost(last, seen.highest)
            self.edit.commands.append(("SET", self._keys.plain("token"), token - 1))
        if self._readded:
            self.edit.commands += wake_dispatcher(self._keys)
        return True

    def _read(self, taken: Sequence[Taken]) -> tuple[list[Any], bytes | None]:
        """The raw records and the last token that was given; none if somebody took the worker for dead meanwhile."""
        held, revoked = self._keys.of("held", self._worker), self._keys.plain("revoked")
        last_token = self._keys.plain("token")
        ids = [entry.id for entry in taken]
        shards = [self._keys.record(task_id) for task_id in ids]
        self._session.watch(self._keys.plain("meta"), held, last_token, *shards)
        kept, newest, last, *replies = self._session.read(
            [
                ownership.question(self._keys),
                ("LRANGE", held, 0, len(ids) - 1),
                ("GET", last_token),
                *(("HGET", key, task_id) for key, task_id in zip(shards, ids, strict=True)),
                *(("HGET", revoked, task_id) for task_id in ids),
            ]
        )
        ownership.require(self._keys, self._index.ownership, kept, settled=True)
        if [raw.decode(errors=LENIENT) for raw in reversed(newest)] != ids:
            return [], None
        if any(count is not None for count in replies[len(ids) :]):
            self._session.watch(revoked, self._keys.plain("guard"))
            counts = self._session.read([("HGET", revoked, task_id) for task_id in ids])
            self._void = {
                task_id: number(count) for task_id, count in zip(ids, counts, strict=True) if count is not None
            }
        return replies[: len(ids)], last

    def _claim(self, record: Record, token: int, until_us: int, *, start: bool) -> bool:
        """Claim a task; or put it aside, if this process does not know the name that it calls: False."""
        # after a cancel or reschedule this may be the void one of two entries: then the index has the other, no longer
        # needed
        if self._void.get(record.id) and self._index.counts(self._session, entry_of(record)):
            self.edit.leave_index(record)
            if not self._index.lazy:  # else it stays there, and is the void one from now on
                self._drop_void(record.id)
        name = task_of(record.body)
        if name not in self._names and is_call(record.body):
            self.edit.save(record._replace(state=State.UNCLAIMED, token=0, worker=""))
            self._put_aside(Taken(record.queue, record.id), name)
            return False
        claim = record._replace(
            state=State.LEASED if start else State.HELD, token=token, worker=self._worker, starts=record.starts + start
        )
        self.edit.save(claim)
        if start:
            self.edit.lease(claim, until_us)
        self.claims.records.append(claim)
        return True

    def _drop(self, entry: Taken, waiting: Record | None) -> None:
        """Drop an entry. If the task is ``waiting`` for its time, make sure that it is in the index."""
        self.edit.commands.append(("LREM", self._keys.of("held", self._worker), 1, entry.id))
        void = self._void.get(entry.id, 0)
        if waiting is None:
            if void:
                self._drop_void(entry.id)
            else:
                self.claims.dropped.append(entry.queue)
        elif void and self._index.contains(self._session, entry_of(waiting)):
            self._drop_void(entry.id)
        else:
            # not due yet, since this host's clock is behind another's: the task goes back into the index, so it is not
            # lost; of two entries, the other stays void
            self.edit.add(waiting)
            self._readded = True

    def _set_apart(self, entry: Taken, odd: Oddity, raw: bytes | None) -> None:
        """Put the task aside if a newer dueq wrote it; put it into quarantine if it is damaged."""
        if odd == "newer":
            self._put_aside(entry, NEWER)
        elif odd:
            self.edit.commands.append(("LREM", self._keys.of("held", self._worker), 1, entry.id))
            self.edit.commands += put_away(self._keys, odd, f"ready:{entry.queue}", entry.id, raw, self.now_us)

    def _put_aside(self, entry: Taken, name: str) -> None:
        self.edit.commands.append(("LREM", self._keys.of("held", self._worker), 1, entry.id))
        self.claims.aside.append(Aside(entry.queue, name, entry.id))

    def _drop_void(self, task_id: str) -> None:
        self.edit.one_less_revoked(task_id, self._void[task_id])
        self._void[task_id] -= 1
