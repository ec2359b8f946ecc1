"""A worker is gone, or disowns what it holds: all of that can be run again, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...client.protocol import LENIENT, Command
from ...client.transactions import Session
from ...schema.bounds import MOST_TASKS, first_step
from ...schema.quarantine import oddity, put_away
from ...schema.record import number, readable_record
from ...schema.states import CLAIMED, State
from ...schema.wakeups import wake_dispatcher, wake_workers
from ..names import NEWER, NOWHERE
from ..unclaimed import put_aside
from ..values import Aside, Loss, Lost
from .parts import Parts, length


def give_back(parts: Parts, loss: Loss) -> list[Lost]:
    """See ``Store.give_back``."""
    lost: list[Lost] = []
    while (batch := parts.transactions.run(lambda session: _batch(parts, session, loss))) is not None:
        lost += batch
    return lost


def _batch(parts: Parts, session: Session, loss: Loss) -> list[Lost] | None:
    """Take back a batch of what the worker holds; None once nothing is left, or if the worker turns out to be alive."""
    held, workers = parts.keys.of("held", loss.worker), parts.keys.plain("workers")
    session.watch(held)
    ids, life = session.read([("LRANGE", held, 0, MOST_TASKS - 1), ("ZSCORE", workers, loss.worker)])
    if loss.cause == "lease_expired" and life is not None and float(life) > parts.clock.now_us():
        return None
    if not ids:
        _forget(parts, session, loss.worker)
        return None
    names = [raw_id.decode(errors=LENIENT) for raw_id in ids]
    revoked, again = parts.keys.plain("revoked"), parts.keys.plain("again")
    session.watch(revoked)
    more: list[Command] = [*(("HGET", revoked, name) for name in names), ("HMGET", again, *names)]
    *replies, agains = parts.load(session, names, more)
    raws, voids = replies[: len(names)], replies[len(names) :]
    rows = [*zip(names, raws, voids, agains, strict=True)][: first_step(map(length, raws))]
    return _take_back(parts, session, loss, rows)


def _take_back(parts: Parts, session: Session, loss: Loss, rows: Sequence[Any]) -> list[Lost]:
    """Take back held tasks. A row has the id, the record, how many entries are void, and the next run asked for."""
    now, edit = parts.clock.now_us(), parts.edit()
    lost, asides = list[Lost](), list[Aside]()
    for name, raw, revoked, again in rows:
        record = readable_record(name, raw)
        if record is not None and record.worker == loss.worker and record.state in CLAIMED:
            if record.token in loss.begun:
                record = record.started()  # its start may have been lost with the worker
            elif loss.running is not None and record.token not in loss.begun:
                record = record.unstarted()  # the step that took it started all
            most = loss.most_losses if loss.running in (None, record.token) else 0
            forgotten = loss.cause == "unstarted" and record.token in loss.begun  # Redis has lost its end
            cause = "lease_expired" if forgotten else loss.cause
            how = edit.lose(record, cause, loss.since_us, most, now, loss.how, again)
            lost.append(Lost(name, record.queue, how))
            continue
        edit.commands.append(("LREM", parts.keys.of("held", loss.worker), 1, name))
        if record is not None and record.state == State.SCHEDULED:
            edit.make_ready(record)  # taken, but the worker ended before it claimed it
        elif (odd := oddity(name, raw)) == "newer":
            asides.append(Aside(NOWHERE, NEWER, name))
        elif odd:
            edit.commands += put_away(parts.keys, odd, f"held:{loss.worker}", name, raw, now)
        elif revoked is not None:
            edit.one_less_revoked(name, number(revoked))
    put_aside(edit, asides, now)
    parts.commit(session, edit)
    return lost


def _forget(parts: Parts, session: Session, worker: str) -> None:
    """Take a worker that holds nothing any more off ``workers``, and push the wake-ups again that it took."""
    busy = session.read([("ZRANGE", parts.keys.plain("busy"), 0, MOST_TASKS - 1)])[0]
    queues = [queue.decode(errors=LENIENT) for queue in busy]
    # two each: Redis may not have seen yet that the worker's connection has ended, and give one wake-up to it
    wakeups = [command for queue in queues for command in wake_workers(parts.keys, queue, 2)]
    session.commit([("ZREM", parts.keys.plain("workers"), worker), *wakeups, *wake_dispatcher(parts.keys)])
