"""The next run that a running task asks for, as it is kept beside the record until the run ends: due|queue|body."""

from __future__ import annotations

from .values import NewTask


def encode_again(task: NewTask) -> bytes:
    """The bytes that are kept; the due time is absolute."""
    return f"{task.due}|{task.queue}|".encode() + task.body


def decode_again(task_id: str, raw: bytes | None) -> NewTask | None:
    """The task in ``raw``; None if there is none, or if it cannot be read."""
    if raw is None:
        return None
    try:
        due, queue, body = raw.split(b"|", 2)
        return NewTask(task_id, queue.decode(), int(due), body)
    except ValueError:
        return None
