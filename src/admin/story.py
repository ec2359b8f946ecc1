"""A task's story, from its record and its journal: its events, and findings about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.clock import US
from ..core.schema.journal import Event
from ..core.schema.record import Record, task_of
from ..core.schema.states import State
from ..core.store.unclaimed import legible
from .format import timestamp

_LATE_S = 0.1
"""From this lateness on, a finding says where the time went."""

_ENDS = {
    "done": "it is done",
    "misfired": "it was not started in time, and forgotten: it had expired",
    "cancelled": "it was cancelled",
    "discarded": "it was a dead letter, and discarded",
}
_AGAIN = {
    "retry": "it had failed, and its retry policy or a person asked for another start",
    "worker_lost": "the worker that ran it had died",
    "lease_expired": "the lease of the worker that ran it had run out",
}


@dataclass(frozen=True, slots=True)
class Story:
    """``events`` are in the order of their times; ``findings`` are sentences."""

    id: str
    events: list[Event]
    findings: list[str]


def story(task_id: str, record: Record | None, events: Sequence[Event], reason: str = "") -> Story:
    """The story of a task. ``reason`` says why it is a dead letter, if it is one."""
    in_order = sorted([*_scheduled(record, events), *events], key=lambda event: event.at_us)
    findings = [*_lateness(in_order), *_repeats(in_order), *_end(record, in_order, reason)]
    if not in_order and record is not None:
        findings.append("what happened to it is not known any more: the journal keeps only the latest events")
    return Story(task_id, in_order, findings)


def _scheduled(record: Record | None, events: Sequence[Event]) -> list[Event]:
    """When the task was scheduled: its record says so, and the journal's entry of a start, or of the end."""
    times = {
        event.facts["scheduled_us"]: event.id for event in events if isinstance(event.facts.get("scheduled_us"), int)
    }
    if record is not None and record.scheduled_us:
        times[record.scheduled_us] = record.id
    asked = {event.at_us // 1000 for event in events if event.kind == "again"}  # that entry tells it of a next run
    return [
        Event(at_us, "scheduled", task_id, who="producer")
        for at_us, task_id in times.items()
        if at_us // 1000 not in asked
    ]


def _lateness(events: Sequence[Event]) -> list[str]:
    """How late the first start was and, if it was notably late, where the time went."""
    first = next((event for event in events if event.kind == "started"), None)
    if first is None:
        return []
    due_us = first.facts.get("due_us", first.at_us)
    late_s = (first.at_us - due_us) / US
    if late_s < _LATE_S:
        return [f"its first start was {_span(late_s)} after its due time"]
    ready = next((event for event in events if event.kind == "ready" and event.at_us <= first.at_us), None)
    if ready is None:
        return [f"its first start was {_span(late_s)} late; the journal no longer has when it was made ready"]
    dispatch_s, wait_s = (ready.at_us - due_us) / US, (first.at_us - ready.at_us) / US
    where = "no dispatcher found it sooner" if dispatch_s > wait_s else "no worker was free, or none served its queue"
    return [
        f"its first start was {_span(late_s)} late: made ready {_span(dispatch_s)} after its due time, then waiting "
        f"{_span(wait_s)} for a worker ({where})"
    ]


def _repeats(events: Sequence[Event]) -> list[str]:
    findings = []
    for event in events:
        if event.kind == "started" and event.facts.get("cause") == "snoozed":
            continue
        if event.kind == "started" and (cause := event.facts.get("cause")):
            findings.append(f"start {event.facts.get('attempt', '?')} happened because {_AGAIN.get(cause, cause)}")
        elif event.kind == "refused":
            findings.append(
                f"the result of token {event.token} came too late and was refused: another worker had the task by then"
            )
    if snoozes := sum(event.kind == "snoozed" for event in events):
        findings.append(f"the task itself put it off {snoozes} times; these starts are not counted as attempts")
    return findings


def _end(record: Record | None, events: Sequence[Event], reason: str) -> list[str]:
    if record is not None:
        if record.state == State.DEAD:
            return [f"it is a dead letter: {reason or 'the reason is not known'}"]
        if record.state == State.UNCLAIMED:
            return [
                f"no worker that met it knows its task {legible(task_of(record.body))}: it is put aside, not started, "
                f"until a worker knows that task"
            ]
        runs = f"it runs now, or is about to, on {record.worker}, under token {record.token}"
        return [runs] if record.state == State.LEASED else []
    ends = (event.kind for event in reversed(events) if event.kind in _ENDS and not event.facts.get("again"))
    last = next(ends, None)
    return [_ENDS[last]] if last else []


def _span(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def words(event: Event) -> str:
    """What happened, for people."""
    facts = event.facts
    match event.kind:
        case "ready":
            return f"made ready, {_span(facts.get('late_us', 0) / US)} after its due time"
        case "started":
            return f"started, attempt {facts.get('attempt', '?')}" + (
                f" ({facts['cause']})" if "cause" in facts else ""
            )
        case "unclaimed":
            return f"put aside: its worker does not know {facts.get('task', 'its name')}"
        case "done":
            return "done"
        case "misfired":
            return f"not started: it was to start by {timestamp(facts.get('expired_us'))}"
        case "retry":
            return f"failed, again in {_span(facts.get('in_us', 0) / US)}: {facts.get('reason', '')}"
        case "snoozed":
            in_us, due_us = facts.get("in_us", 0), facts.get("due_us")
            until = f"for {_span(in_us / US)}" if due_us is None else f"until {timestamp(due_us)}"
            return f"put off by the task itself {until}" + (f": {facts['reason']}" if "reason" in facts else "")
        case "dead":
            return f"failed for good: {facts.get('reason', '')}"
        case "refused":
            return "its result was refused: another worker has the task"
        case "lost":
            how = f": {facts['worker']} {facts.get('how', '')}" if "worker" in facts else ""
            return f"its owner was lost ({facts.get('cause', '?')}){how}" + (", buried" if facts.get("buried") else "")
        case "revived":
            return "dead letter retried: scheduled again"
        case "again":
            return "scheduled, while it ran, to run again after this run"
        case "apart":
            return f"this run is a dead letter under the id {facts.get('id', '?')}, since the task runs again"
        case "cancelled" if facts.get("again"):
            return "the next run, scheduled while this one ran, was cancelled"
        case "scheduled" if "after" in facts:
            return "scheduled again, as requested while it ran"
        case _:
            return event.kind
