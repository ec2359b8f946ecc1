"""The quarantine: data that could not be read, put out of the way of everything else, its bytes kept whole.

The hash ``quarantined`` has the bytes, and a zset for each kind has when and where each was found. A record that a
newer dueq wrote is not damaged: it is put aside (see ``unclaimed``). The scripts' own version: quarantine.lua.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import redis

from ..client.protocol import LENIENT, Command
from ..client.transactions import Session, Transactions
from .keys import Keys
from .record import ID, is_newer, number, readable_record

Oddity = Literal["newer", "record", "entry", ""]
"""What is wrong with an entry: a newer dueq wrote its record; its record is damaged; no task can have this id; nothing
is wrong."""
Kind = Literal["record", "entry", "key", "field"]
KINDS: tuple[Kind, ...] = ("record", "entry", "key", "field")
"""A damaged record; an entry of a list that cannot be the id of a task; a key of another type than dueq's; a field of
``meta`` with a value that no dueq writes."""

_PAGE = 100


class Quarantined(NamedTuple):
    """Something that could not be read: when it was found (epoch microseconds), where, its id, and its bytes.

    For a key, ``id`` is its old name without the prefix of the namespace, ``place`` is the type that it should have
    had, and ``raw`` is its name now.
    """

    kind: Kind
    at_us: int
    place: str
    id: str
    raw: bytes


def quarantine(keys: Keys, kind: Kind, place: str, id: str, raw: bytes, now_us: int) -> list[Command]:
    """Commands that keep ``raw``; ``place`` has no spaces."""
    what = f"{now_us} {place} {id}".encode(errors=LENIENT)
    return [
        ("HSET", keys.plain("quarantined"), kind.encode() + b" " + what, raw),
        ("ZADD", keys.of("quarantine", kind), now_us, what),
    ]


def oddity(task_id: str, raw: bytes | None) -> Oddity:
    """What is wrong with an entry, whose record is ``raw``: see quarantine.lua."""
    if raw is None:
        return "" if ID.fullmatch(task_id) else "entry"
    if readable_record(task_id, raw) is not None:
        return ""
    return "newer" if is_newer(raw) else "record"


def put_away(
    keys: Keys, odd: Literal["record", "entry"], place: str, task_id: str, raw: bytes | None, now_us: int
) -> list[Command]:
    """Commands for an unreadable entry that was taken out of ``place``. Its record, if any, is watched."""
    erased: list[Command] = [("HDEL", keys.record(task_id), task_id)] if odd == "record" else []
    return [*erased, *quarantine(keys, odd, place, task_id, raw or b"", now_us)]


def set_apart(transactions: Transactions, keys: Keys, place: str, task_id: str, raw: bytes, now_us: int) -> bool:
    """Put a damaged record into quarantine; False, and nothing changes, if the record has changed meanwhile."""

    def attempt(session: Session) -> bool:
        key = keys.record(task_id)
        session.watch(key)
        if session.read([("HGET", key, task_id)])[0] != raw:
            return False
        session.commit([("HDEL", key, task_id), *quarantine(keys, "record", place, task_id, raw, now_us)])
        return True

    return transactions.run(attempt)


def set_key_apart(transactions: Transactions, keys: Keys, name: str, wanted: str, now_us: int) -> bool:
    """Rename a key of another type than ``wanted``; False, and nothing changes, if it is gone or has that type now."""
    key, kept = (f"{prefix}{name}".encode(errors=LENIENT) for prefix in (keys.prefix, keys.of("foreign", f"{now_us}:")))
    notes = quarantine(keys, "key", wanted, name, kept, now_us)

    def attempt(session: Session) -> bool:
        session.watch(key)
        if session.read([("TYPE", key)])[0] in (wanted.encode(), b"none"):
            return False
        session.commit([("RENAME", key, kept)])
        return True

    done = transactions.run(attempt)
    if done:
        transactions.trip(notes)  # afterwards: the renamed key may be one that these notes go into
    return done


def foreign(client: Any, keys: Keys) -> list[Any]:
    """The present names of the keys in quarantine."""
    rows = client.zrange(keys.of("quarantine", "key"), 0, -1)
    names = client.hmget(keys.plain("quarantined"), [b"key " + row for row in rows]) if rows else []
    return [name for name in names if name]


def counts(client: redis.Redis, keys: Keys) -> dict[Kind, int]:
    """How many things of each kind are in quarantine."""
    pipe: Any = client.pipeline(transaction=False)
    for kind in KINDS:
        pipe.zcard(keys.of("quarantine", kind))
    return dict(zip(KINDS, pipe.execute(), strict=True))


def quarantined(client: Any, keys: Keys) -> Iterator[Quarantined]:
    """Everything in quarantine, by kind, oldest first."""
    for kind in KINDS:
        at = 0
        while rows := client.zrange(keys.of("quarantine", kind), at, at + _PAGE - 1):
            raws = client.hmget(keys.plain("quarantined"), [kind.encode() + b" " + row for row in rows])
            for row, raw in zip(rows, raws, strict=True):
                found_at, _, rest = row.partition(b" ")
                place, _, id = rest.decode(errors=LENIENT).partition(" ")
                yield Quarantined(kind, number(found_at), place, id, raw or b"")
            at += len(rows)
