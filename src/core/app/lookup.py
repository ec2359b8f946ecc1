"""What is known of a task, for a person or a program that asks: ``app.get(id)``, and ``dueq show``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..client.redaction import redact
from ..clock import datetime_of
from ..namespace import Namespace
from ..schema.journal import events_of
from ..schema.record import Record
from ..schema.states import State
from .payload import shown_call

_STATES = {State.HELD: "held", State.LEASED: "leased", State.UNCLAIMED: "unclaimed", State.DEAD: "dead"}


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as Redis has it now. Times are datetimes (UTC).

    ``state`` is ``scheduled``, ``due`` (its time has come, and it waits for a dispatcher or a worker), ``held`` (a
    worker has taken it), ``leased`` (it runs, or is about to), ``unclaimed`` (no worker that met it knows its name) or
    ``dead``. ``attempts`` counts its starts. ``args`` and ``kwargs`` are JSON values, None if they cannot be read.
    """

    id: str
    state: str
    task: str
    args: Sequence[Any] | None
    kwargs: Mapping[str, Any] | None
    queue: str
    due_at: datetime
    scheduled_at: datetime | None
    """None if that is not known: an older dueq scheduled it."""
    expires_at: datetime | None
    headers: Mapping[str, str]
    attempts: int
    retries: int
    losses: int
    worker: str
    """The worker that has it; empty if none has."""
    last_failure: str
    """Why it is a dead letter; or why its last attempt failed, as long as the journal has that. Empty if neither."""


def info(namespace: Namespace, task_id: str) -> TaskInfo | None:
    """What is known of a task; None if there is none. Raises DueqError for a record that cannot be read."""
    record = namespace.store.record(task_id)
    if record is None:
        return None
    call = shown_call(record.body)
    return TaskInfo(
        record.id,
        state_of(record, namespace.store.time_us()),
        call["task"],
        call["args"],
        call["kwargs"],
        record.queue,
        datetime_of(record.due_us),
        datetime_of(record.scheduled_us) if record.scheduled_us else None,
        datetime_of(record.expires_us) if record.expires_us else None,
        record.headers,
        record.starts,
        record.retries,
        record.losses,
        record.worker,
        reason_of_death(namespace, record) if record.state == State.DEAD else _last_failure(namespace, record),
    )


def state_of(record: Record, now_us: int) -> str:
    """The state of a task, as people are told."""
    return _STATES.get(record.state) or ("scheduled" if record.due_us > now_us else "due")


def reason_of_death(namespace: Namespace, record: Record) -> str:
    """Why a task is a dead letter."""
    reason: Any = namespace.client.hget(namespace.keys.plain("reasons"), record.id)
    return redact((reason or b"").decode("utf-8", "replace"))  # an older dueq stored it unredacted


def _last_failure(namespace: Namespace, record: Record) -> str:
    if not record.retries:
        return ""
    events = reversed(events_of(namespace.client, namespace.keys, record.id))
    return next((str(event.facts.get("reason", "")) for event in events if event.kind == "retry"), "")
