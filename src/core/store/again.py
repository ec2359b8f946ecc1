"""The call that a running task makes for after its run, as it lies beside the record till then: due|queue|body."""

from __future__ import annotations

from .values import NewTask


def encode_again(task: NewTask) -> bytes:
    """A call as it is kept; its due time is one of the clock."""
    return f"{task.due}|{task.queue}|".encode() + task.body


def decode_again(task_id: str, raw: bytes | None) -> NewTask | None:
    """The call in ``raw``; None if there is none, or none that can be read."""
    if raw is None:
        return None
    try:
        due, queue, body = raw.split(b"|", 2)
        return NewTask(task_id, queue.decode(), int(due), body)
    except ValueError:
        return None
