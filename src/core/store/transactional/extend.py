"""The leases of running tasks, and the life of their worker, made longer without scripts."""

from __future__ import annotations

from collections.abc import Sequence

from ...client.protocol import Command
from ...client.transactions import Session
from ...schema.bounds import steps
from ...schema.record import Record, readable_record
from ...schema.states import CLAIMED, State
from .parts import Parts, is_of


def extend(parts: Parts, worker: str, claims: Sequence[Record], lease_us: int) -> list[bool]:
    """See ``Store.extend``."""
    kept: list[bool] = []
    for some in [*steps(claims, lambda claim: len(claim.body))] or [()]:
        kept += parts.transactions.run(lambda session, some=some: _extend(parts, session, worker, some, lease_us))  # type: ignore[misc]
    return kept


def _extend(parts: Parts, session: Session, worker: str, claims: Sequence[Record], lease_us: int) -> list[bool]:
    held: Command = ("LLEN", parts.keys.of("held", worker))
    *raws, holding = parts.load(session, [claim.id for claim in claims], [held])
    now, edit = parts.clock.now_us(), parts.edit()
    kept = []
    for claim, raw in zip(claims, raws, strict=True):
        record = readable_record(claim.id, raw)
        ours = record is not None and record.state in CLAIMED and is_of(record, claim.token, worker)
        kept.append(ours)
        if ours and record is not None and record.state == State.LEASED:
            edit.save(record)  # so that a step that is about to take the lease back looks again
            edit.lease(record, now + lease_us)
    if holding:
        edit.commands.append(("ZADD", parts.keys.plain("workers"), now + lease_us, worker))
    session.commit(edit.commands)
    return kept
