"""Leases that have run out are taken back, without scripts, and silent workers found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...client.protocol import LENIENT, Command
from ...client.transactions import Session
from ...schema.bounds import first_step
from ...schema.quarantine import put_away
from ...schema.record import is_newer, readable_record
from ...schema.states import State
from ..values import Lost, Reaped
from .parts import Parts, length


def reap(parts: Parts, limit: int, lease_us: int, most_losses: int, latest_us: int) -> Reaped:
    """See ``Store.reap``."""
    now = parts.clock.now_us()
    if 0 < latest_us < now:
        return Reaped(now, None, [], [])
    keys = (parts.keys.plain("leased"), parts.keys.plain("workers"))
    first: list[Command] = [("ZRANGE", key, 0, 0, "WITHSCORES") for key in keys]
    heads = parts.transactions.trip(first)
    if all(float(head[1]) > now for head in heads if head):
        return Reaped(now, _first_end(heads), [], [])
    expired: list[Command] = [("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, limit) for key in keys]
    leases, names = parts.transactions.trip(expired)
    lost = parts.transactions.run(lambda session: _take_back(parts, session, leases, lease_us, most_losses, now))
    heads = parts.transactions.trip(first)
    silent = [name for name in (raw.decode(errors=LENIENT) for raw in names) if _holds(parts, name)]
    return Reaped(now, _first_end(heads), silent, lost)


def _take_back(
    parts: Parts, session: Session, leases: Sequence[bytes], lease_us: int, most_losses: int, now: int
) -> list[Lost]:
    """Take back those of ``leases`` (members of ``leased``) that have run out, and drop those that have no claim."""
    leased = parts.keys.plain("leased")
    names = [lease.decode(errors=LENIENT).partition(":") for lease in leases]
    raws = parts.load(session, [task_id for _, _, task_id in names])
    # read again, now that the records are watched: an owner that extends its lease writes its record
    ends = session.read([("ZSCORE", leased, lease) for lease in leases])
    edit, lost = parts.edit(), list[Lost]()
    now_too = first_step(map(length, raws))  # the others will still be expired at the next call
    for lease, (queue, _, task_id), raw, end in [*zip(leases, names, raws, ends, strict=True)][:now_too]:
        record = readable_record(task_id, raw)
        if record is None and raw is not None and is_newer(raw):
            edit.commands.append(("ZADD", leased, now + lease_us, lease))  # an engine that can read it takes it back
        elif record is None or record.state != State.LEASED or record.queue != queue:
            edit.commands.append(("ZREM", leased, lease))
            if record is None and raw is not None:
                edit.commands += put_away(parts.keys, "record", f"leased:{queue}", task_id, raw, now)
        elif end is not None and float(end) <= now:
            how = edit.lose(record, "lease_expired", int(float(end)) - lease_us, most_losses, now)
            lost.append(Lost(record.id, record.queue, how))
    parts.commit(session, edit)
    return lost


def _holds(parts: Parts, worker: str) -> bool:
    """Whether a silent worker holds anything; one that does not is forgotten."""

    def attempt(session: Session) -> bool:
        held = parts.keys.of("held", worker)
        session.watch(held)
        [holding] = session.read([("LLEN", held)])
        if not holding:
            session.commit([("ZREM", parts.keys.plain("workers"), worker)])
        return bool(holding)

    return parts.transactions.run(attempt)


def _first_end(heads: Sequence[Any]) -> int | None:
    """The earliest end among the first entries of some zsets; None if all are empty."""
    return min((int(float(head[1])) for head in heads if head), default=None)
