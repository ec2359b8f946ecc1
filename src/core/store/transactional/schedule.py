"""New tasks, without scripts: their records and their places in the index appear in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...client.transactions import Aborted, Session
from ...schema import ownership
from ...schema.bounds import steps
from ...schema.quarantine import oddity, put_away
from ...schema.record import Record, new_record, readable_record
from ...schema.states import State
from ...schema.tail import settled_tail
from ..values import NewTask, Scheduled, existing
from .parts import Parts


def schedule(parts: Parts, tasks: Sequence[NewTask], results: list[Scheduled]) -> None:
    """See ``Store.schedule``. What came of each task is appended to ``results``, also if it ends with an error."""
    for some in steps(tasks, lambda task: len(task.body) + len(task.tail)):
        _schedule(parts, some, results)


def _schedule(parts: Parts, tasks: Sequence[NewTask], results: list[Scheduled]) -> None:
    """Schedule ``tasks`` in one transaction; in two halves if others keep changing one of its many hashes."""

    def attempt(session: Session) -> tuple[int, list[str]]:
        return _attempt(parts, session, tasks)

    if len(tasks) == 1:
        results += _results(*parts.transactions.run(attempt))
        return
    for _ in range(2):
        try:
            results += _results(*parts.transactions.once(attempt))
            return
        except Aborted:
            continue
    middle = len(tasks) // 2
    _schedule(parts, tasks[:middle], results)
    _schedule(parts, tasks[middle:], results)


def _results(now: int, states: list[str]) -> Iterator[Scheduled]:
    return (Scheduled(now, existing(state) if state else "") for state in states)


def _attempt(parts: Parts, session: Session, tasks: Sequence[NewTask]) -> tuple[int, list[str]]:
    """The time, and for each task the state of the one that has its id; empty for a new one."""
    raws, kept = parts.load_to_index(session, [task.id for task in tasks])
    format_ = ownership.format_in(kept)
    if format_ == "1" and any(task.tail for task in tasks):
        raise ownership.old_format(parts.keys)
    now, edit = parts.clock.now_us(), parts.edit()
    new: dict[str, Record] = {}
    states = list[str]()
    for task, raw in zip(tasks, raws, strict=True):
        damaged = oddity(task.id, raw) == "record"
        if (raw is not None and not damaged) or task.id in new:
            found = readable_record(task.id, raw)
            states.append(State.SCHEDULED if task.id in new else found.state if found else "?")
            continue
        if damaged:
            place = parts.keys.record(task.id).removeprefix(parts.keys.prefix)
            edit.commands += put_away(parts.keys, "record", place, task.id, raw, now)
        due = max(now, now + task.due if task.relative else task.due)
        tail = settled_tail(task.tail, due)
        record = new_record(task.id, due, task.queue, task.body, now, format_, tail)
        edit.save(record)
        edit.add(record)
        if format_ == "1":  # else the record says when it was scheduled
            edit.note(now, "scheduled", task.id, due_us=due)
        new[task.id] = record
        states.append("")
    if new:
        if ownership.owner_of(kept) is None:
            edit.commands += ownership.written(parts.keys, parts.index.ownership, "producer", format_)
        edit.commands += ownership.featuring(parts.keys, kept, [record.tail for record in new.values()])
        for queue in {record.queue for record in new.values()}:
            edit.commands.append(("SADD", parts.keys.plain("queues"), queue))
            edit.count("scheduled", queue, sum(record.queue == queue for record in new.values()))
        parts.commit(session, edit, added=list(new.values()))
    return now, states
