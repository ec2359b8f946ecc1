"""Lets a producer go on where a key of a wrong type, or damage in ``meta``, stopped it: clears it, and tries again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from ..client import partly
from ..clock import US
from ..errors import NamespaceDamaged
from ..namespace import Namespace
from ..schema.helper_keys import is_of_type
from ..schema.record import readable_record
from ..schema.states import State
from ..store.damaged_meta import put_damage_apart
from ..store.values import NewTask, Scheduled
from .audit_times import request_audit
from .foreign_keys import put_apart
from .layout import mended

R = TypeVar("R")

_JUST_NOW_US = 10 * US


def with_room(request: Callable[[Namespace], R], namespace: Namespace) -> R:
    """The result of ``request``, which is repeated once if room could be made for it."""
    try:
        return request(namespace)
    except (ResponseError, NamespaceDamaged) as error:
        if not _made_room(namespace, error):
            raise
    return request(namespace)


def scheduled(namespace: Namespace, tasks: Sequence[NewTask]) -> list[Scheduled]:
    """Schedule ``tasks``. A task that an attempt cut short had written, but not put into its place, gets there."""
    try:
        return namespace.store.schedule(tasks)
    except (ResponseError, NamespaceDamaged) as error:
        if not _made_room(namespace, error):
            raise
    now_us = namespace.store.time_us()
    try:
        results = namespace.store.schedule(tasks)
    except Exception as error:
        partly.note(error, (), doubtful=True)  # tasks that the first attempt has written would look like others'
        raise
    return [
        result._replace(existing="")
        if result.existing == "scheduled" and _was_written_just_now(namespace, task, now_us)
        else result
        for task, result in zip(tasks, results, strict=True)
    ]


def _was_written_just_now(namespace: Namespace, task: NewTask, now_us: int) -> bool:
    """Whether this call for ``task`` was written by the attempt that was refused; then it is in its place, too."""
    raw: Any = namespace.client.hget(namespace.keys.record(task.id), task.id)
    record = readable_record(task.id, raw)
    if record is None or record.state != State.SCHEDULED or record.starts or record.body != task.body:
        return False
    called_us = record.due_us - (task.due if task.relative else 0)
    if not now_us - _JUST_NOW_US < called_us <= now_us and (task.relative or record.due_us != task.due):
        return False
    namespace.store.mend(task.id, raw)
    return True


def _made_room(namespace: Namespace, error: Exception) -> bool:
    if isinstance(error, NamespaceDamaged):
        put_damage_apart(namespace.client, namespace.keys)
        return True
    if not is_of_type(error) or not [name for names in put_apart(namespace) for name in names]:
        return False
    for _ in mended(namespace, namespace.store.queues()):
        pass
    request_audit(namespace)
    return True
