"""Commands for tasks put aside because the worker that took them does not know their name. The Lua side: unclaimed.lua.

The tasks wait, unstarted, in a zset for each queue and name, ``unclaimed:<queue>:<name>``. ``aside`` lists the zsets
that are not empty, and the field ``aside`` of ``meta`` says that there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..client.protocol import LENIENT, Command
from ..client.transactions import Session, Transactions
from ..clock import Clock
from ..schema.keys import Keys
from ..schema.quarantine import oddity, put_away
from ..schema.record import Record, readable_record, task_of
from ..schema.states import State
from ..schema.wakeups import push_wakeups
from .names import NEWER, KnownNames, wake_knowing
from .strategy import TransactionalStrategy
from .transactional.edit import Edit
from .values import Aside

_LISTS = 1000


def list_of(keys: Keys, queue: str, name: str) -> bytes:
    """The key of the tasks of ``queue`` that call ``name`` and were put aside."""
    return keys.of("unclaimed", f"{queue}:{name}").encode("utf-8", "surrogateescape")


def entry_in_aside(queue: str, name: str) -> bytes:
    """The member of ``aside`` that stands for this list."""
    return f"{queue}:{name}".encode("utf-8", "surrogateescape")


def legible(name: str) -> str:
    """``name`` for people: without surrogates, and ``?newer`` for records that a newer dueq wrote."""
    if name == NEWER:
        return "?newer"
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def question(keys: Keys) -> Command:
    """The command whose reply says whether any task was put aside."""
    return ("HGET", keys.plain("meta"), "aside")


def pairs(rows: Sequence[bytes]) -> list[tuple[str, str]]:
    """The queues and names of the lists of tasks put aside, from members of ``aside``; other members are left out."""
    texts = [raw.decode("utf-8", "surrogateescape") for raw in rows]
    return [(queue, name) for queue, colon, name in (text.partition(":") for text in texts) if colon]


def put_aside(edit: Edit, asides: Sequence[Aside], now_us: int) -> None:
    """Put tasks into their lists. The caller writes their records."""
    for one in asides:
        edit.commands += [
            ("ZADD", list_of(edit.keys, one.queue, one.name), now_us, one.id),
            ("ZADD", edit.keys.plain("aside"), now_us, entry_in_aside(one.queue, one.name)),
        ]
    if asides:
        edit.commands.append(("HSETNX", edit.keys.plain("meta"), "aside", "1"))


def leave_aside(edit: Edit, record: Record) -> None:
    """A task that was put aside leaves its list: it is cancelled or rescheduled."""
    edit.commands.append(("ZREM", list_of(edit.keys, record.queue, task_of(record.body)), record.id))


class Unclaimed:
    """The tasks put aside, for workers on a server without scripts."""

    def __init__(
        self,
        transactions: Transactions,
        keys: Keys,
        index: TransactionalStrategy,
        clock: Clock,
        names: KnownNames,
    ) -> None:
        self._transactions, self._keys, self._index, self._names = transactions, keys, index, names
        self._clock = clock

    def take_back(self, queues: Sequence[str], most: int) -> None:
        """Make tasks ready that were put aside in ``queues`` under names that this process knows, at most ``most``.

        They go to the heads of the ready lists, the task put aside first to the very head.
        """
        aside = self._keys.plain("aside")
        [rows] = self._transactions.trip([("ZRANGE", aside, 0, _LISTS - 1)])
        for queue, name in pairs(rows):
            more = queue in queues and name in self._names
            while more and most > 0:
                ready, more = self._transactions.run(
                    lambda session, queue=queue, name=name, most=most: self._take(session, queue, name, most)  # type: ignore[misc]
                )
                most -= ready

    def _take(self, session: Session, queue: str, name: str, most: int) -> tuple[int, bool]:
        """How many became ready, and whether there are more."""
        aside, key = self._keys.plain("aside"), list_of(self._keys, queue, name)
        session.watch(key, aside)
        ids, lists = session.read([("ZRANGE", key, 0, most), ("ZCARD", aside)])
        taken = [raw.decode(errors=LENIENT) for raw in ids[:most]]
        shards = [self._keys.record(task_id) for task_id in taken]
        session.watch(*shards)
        raws = session.read([("HGET", shard, task_id) for shard, task_id in zip(shards, taken, strict=True)])
        now, edit, newer, ready = self._clock.now_us(), Edit(self._keys, self._index), list[Aside](), 0
        for task_id, raw in reversed(list(zip(taken, raws, strict=True))):
            record = readable_record(task_id, raw)
            if record is not None and record.state == State.UNCLAIMED and record.queue == queue:
                edit.save(record._replace(state=State.SCHEDULED))
                edit.make_ready(record)
                ready += 1
            elif (odd := oddity(task_id, raw)) == "newer":
                newer.append(Aside(queue, NEWER, task_id))
            elif odd:
                edit.commands += put_away(self._keys, odd, f"unclaimed:{queue}", task_id, raw, now)
        edit.commands += [("ZREM", key, raw) for raw in ids[:most]]
        if len(ids) <= most:
            edit.commands.append(("ZREM", aside, entry_in_aside(queue, name)))
            if lists <= 1:
                edit.commands.append(("HDEL", self._keys.plain("meta"), "aside"))
        elif self._names.field:
            edit.commands += push_wakeups(self._keys, self._names.field, 1)  # there is more, for another worker
        put_aside(edit, newer, now)
        session.commit([*edit.commands, *edit.wakeups()])
        return ready, len(ids) > most

    def tidy(self, queue: str, name: str) -> None:
        """Take a list off ``aside`` if it is empty by now."""

        def attempt(session: Session) -> None:
            aside, key = self._keys.plain("aside"), list_of(self._keys, queue, name)
            session.watch(key, aside)
            left, lists = session.read([("ZCARD", key), ("ZCARD", aside)])
            if not left:
                last: list[Command] = [("HDEL", self._keys.plain("meta"), "aside")] if lists <= 1 else []
                session.commit([("ZREM", aside, entry_in_aside(queue, name)), *last])

        self._transactions.run(attempt)

    def wake(self, asides: Sequence[Aside]) -> None:
        """Wake workers that know the names of tasks put aside."""
        names = {one.name for one in asides} - {NEWER}
        if names:
            [fields] = self._transactions.trip([("HGETALL", self._keys.plain("meta"))])
            self._transactions.trip(wake_knowing(self._keys, as_hash(fields), names))


def as_hash(reply: Any) -> dict[bytes, bytes]:
    """The reply to HGETALL, sent as a plain command."""
    return dict(reply) if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
