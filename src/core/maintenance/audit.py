"""One audit: checks that each task is in a place where a process will look after it, and puts back those that are not.

Tasks are on their way from place to place all the time, so one look does not show that a task is lost. First the audit
reads all places into a Bloom filter, and compares all records with it: that clears nearly all of them, at the cost of
reading each once, however many there are. The records left are suspects: their tasks are lost, or have moved meanwhile.
After a grace time, longer than any task is on its way, the audit looks in all places once more for the suspects whose
records have not changed. It puts back those that are in no place again, each in one step that happens only if the
record still has not changed.

The filter's rare mistakes let a lost task pass; the next audit's filter makes other mistakes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from redis.exceptions import ResponseError

from ..client.safe_text import harmless
from ..namespace import Namespace
from ..schema.helper_keys import is_of_type
from ..schema.record import is_newer, readable_record
from ..schema.states import State
from ..telemetry.metrics import Repair
from ..telemetry.recorder import ReaperTelemetry
from ..upkeep.foreign_keys import put_apart, put_place_apart
from ..upkeep.layout import mended
from . import places
from .bloom import BloomFilter

log = logging.getLogger("dueq.auditor")

_SUSPECTS = 10_000
"""Suspects in memory at a time. If there are more, the audit deals with these first, and then goes on behind them."""
_RECORDS, _SHARDS, _READ = 1000, 64, 200
"""Records in one step (about), and most hashes that they come from; records read one by one in one step."""
_MENDED = 10
_VOID = 5000
"""More notes of void entries than this are not looked through: Redis 2.4 can only read all of them at once."""

_KINDS: dict[str, Repair] = {
    State.SCHEDULED: "scheduled",
    State.HELD: "held",
    State.LEASED: "leased",
    State.UNCLAIMED: "unclaimed",
    State.DEAD: "dead",
}


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A record that was in no place, without its body, which may be long: a hash shows whether it has changed."""

    kind: Repair
    queue: str
    marks: tuple[str, ...]
    hash: int


class Audit:
    """One walk over all records. ``steps`` takes one step at a time, none of them long."""

    def __init__(
        self, namespace: Namespace, telemetry: ReaperTelemetry, grace: float, *, keys_are_odd: bool = False
    ) -> None:
        """``keys_are_odd``: the last audit met a key of a wrong type, so first put such keys out of the way."""
        self._keys_are_odd = keys_are_odd
        self._namespace, self._telemetry, self._grace = namespace, telemetry, grace
        self._store = namespace.store
        self.records = self.repairs = self.unreadable = 0
        self._queues: set[str] = set()  # queues listed
        self._used: set[str] = set()  # queues that records name
        self._suspects: dict[str, _Suspect] = {}
        self._void: dict[str, int] = {}  # void entries that are noted, without those found

    def steps(self) -> Iterator[float]:
        """Do the audit; yields after each step, with the seconds to wait before the next."""
        if self._keys_are_odd:
            yield from self._make_room()
        scheduled = self._store.producer_counts()
        listed = self._queues = set(self._store.queues())
        self._void = self._store.void_entries(_VOID)
        shards = list(self._namespace.keys.records())
        while shards:
            seen = BloomFilter()
            for found in places.pages(self._namespace, sorted(self._queues)):
                for page in found:
                    seen.add(page.place, page.ids)
                self._forget_met(found)
                yield 0.0
            yield from self._walk(shards, seen)
            del seen
            if self._suspects or self._void:
                yield self._grace
                yield from self._look_again()
        yield from self._kept_for_later()
        if self.unreadable:  # and they may be of any queue
            log.warning(
                "%d records are unreadable, since a newer dueq wrote them: they are left alone", self.unreadable
            )
            return
        self._store.mend_names()
        yield from self._mend_queues()
        for queue in sorted(listed - self._used):
            if self._store.forget_queue(queue, scheduled.get(("scheduled", queue), 0)):
                log.info("queue %s has no task any more: it is not listed until it gets one", queue)
            yield 0.0

    def _make_room(self) -> Iterator[float]:
        for names in put_apart(self._namespace):
            self._report_keys(names)
            yield 0.0

    def _report_keys(self, names: Iterable[str]) -> None:
        for name in names:
            self._repaired("key", f"key {harmless(name)} held another type than dueq's: it is in quarantine now")

    # -- the first look

    def _walk(self, shards: list[str], seen: BloomFilter) -> Iterator[float]:
        """Compare records with what was seen, until there are enough suspects. Takes their hashes off ``shards``."""
        count = 1
        while shards and len(self._suspects) < _SUSPECTS:
            some = [shards.pop() for _ in range(min(count, len(shards)))]
            raws = self._store.shards(some)
            for task_id, raw in raws.items():
                self._examine(task_id, raw, seen)
            count = min(_SHARDS, max(1, _RECORDS * count // max(1, len(raws))))
            yield 0.0

    def _examine(self, task_id: str, raw: bytes, seen: BloomFilter) -> None:
        self.records += 1
        record = readable_record(task_id, raw)
        if record is None:
            if is_newer(raw) or not self._set_apart(task_id, raw):
                self.unreadable += 1
            return
        self._used.add(record.queue)
        marks = places.marks(record)
        if not any(mark in seen for mark in marks):
            self._suspects[task_id] = _Suspect(_KINDS[record.state], record.queue, marks, hash(raw))

    def _set_apart(self, task_id: str, raw: bytes) -> bool:
        if not self._store.set_apart(task_id, raw):
            return False
        log.error("the record of task %s is damaged: it is in quarantine now, see dueq quarantine", harmless(task_id))
        return True

    # -- the second look

    def _look_again(self) -> Iterator[float]:
        yield from self._clear_changed()
        queues = self._queues = set(self._store.queues())
        if self._suspects or self._void:
            unlisted = {suspect.queue for suspect in self._suspects.values()} - queues
            self._list(unlisted)  # first: a key of another type is found by the names of listed queues
            marked = {mark: task_id for task_id, suspect in self._suspects.items() for mark in suspect.marks}
            for found in places.pages(self._namespace, sorted(queues | unlisted)):
                for page in found:
                    for task_id in page.ids:
                        self._suspects.pop(marked.get(page.place + task_id, ""), None)
                self._forget_met(found)
                yield 0.0
            yield from self._mend()
            self._forget_notes()

    def _clear_changed(self) -> Iterator[float]:
        """Clear suspects whose records have changed since: their tasks were not lost."""
        for ids in _chunks(list(self._suspects), _READ):
            for task_id, raw in self._store.raws(ids).items():
                if raw is None or hash(raw) != self._suspects[task_id].hash:
                    del self._suspects[task_id]
            yield 0.0

    def _mend(self) -> Iterator[float]:
        for ids in _chunks(list(self._suspects), _MENDED):
            for task_id, raw in self._store.raws(ids).items():
                suspect = self._suspects.pop(task_id)
                if raw is not None and hash(raw) == suspect.hash and self._put_back(task_id, raw):
                    self._repaired(
                        suspect.kind,
                        f"task {task_id} of queue {suspect.queue} is {suspect.kind} by its record, but was in no such "
                        f"place: put back",
                    )
            yield 0.0

    def _put_back(self, task_id: str, raw: bytes) -> bool:
        try:
            return self._store.mend(task_id, raw)
        except ResponseError as error:
            record = readable_record(task_id, raw)
            if record is None or not is_of_type(error) or not (names := put_place_apart(self._namespace, record)):
                raise
            self._report_keys(names)
        return self._store.mend(task_id, raw)

    def _list(self, queues: Iterable[str]) -> None:
        """List queues that have tasks, and are not on the list of queues: no dispatcher would look at them."""
        for queue in queues:
            if self._store.list_queue(queue):
                self._repaired("queue", f"queue {queue} has tasks, but was not listed: it is now")
            self._queues.add(queue)

    def _mend_queues(self) -> Iterator[float]:
        for busy, heads in mended(self._namespace, self._store.queues()):
            for queue in busy:
                self._repaired("busy", f"queue {queue} has tasks ready, but was not marked busy: it is now")
            for queue in heads:
                self._repaired("head", f"it was not known when the first task of queue {queue} is due: it is now")
            yield 0.0

    # -- void entries of ready lists

    def _forget_met(self, found: Iterable[places.Page]) -> None:
        if self._void:
            for task_id in places.entries(found):
                self._void.pop(task_id, None)

    def _forget_notes(self) -> None:
        for _ in range(self._store.forget_revoked(self._void) if self._void else 0):
            self._repaired("revoked", "an entry of a ready list was noted to be void, but there was none")
        self._void = {}

    # -- calls kept for after a run

    def _kept_for_later(self) -> Iterator[float]:
        """Schedule the next runs of tasks that are gone. They are few: one at most for each task that runs or waits for
        a retry."""
        for ids in _chunks(self._store.waiting_again(_VOID), _READ):
            for task_id, raw in self._store.raws(ids).items():
                if raw is None and self._store.mend_again(task_id):
                    self._repaired("scheduled", f"task {task_id} was to run again after a run, but was gone: scheduled")
            yield 0.0

    def _repaired(self, kind: Repair, text: str) -> None:
        self.repairs += 1
        self._telemetry.repaired(kind)
        log.warning("%s", text)


def _chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))
