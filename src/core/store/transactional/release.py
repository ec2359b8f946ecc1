"""Held claims go back into their ready lists, without scripts."""

from __future__ import annotations

from collections.abc import Sequence

from ...client.transactions import Session
from ...schema.bounds import steps
from ...schema.record import Record, readable_record
from ...schema.states import CLAIMED
from .parts import Parts, is_of


def release(parts: Parts, worker: str, claims: Sequence[Record]) -> int:
    """See ``Store.release``."""
    return sum(
        parts.transactions.run(lambda session, some=some: _release(parts, session, worker, some))  # type: ignore[misc]
        for some in steps(claims, lambda claim: len(claim.body))
    )


def _release(parts: Parts, session: Session, worker: str, claims: Sequence[Record]) -> int:
    raws = parts.load(session, [claim.id for claim in claims])
    edit, released = parts.edit(), 0
    for claim, raw in zip(claims, raws, strict=True):
        record = readable_record(claim.id, raw)
        if record is not None and record.state in CLAIMED and is_of(record, claim.token, worker):
            edit.put_back(record.unstarted())
            released += 1
    parts.commit(session, edit)
    return released
