"""The next run that a running task asks for, as it is kept beside the record until the run ends.

It is kept as a record, which then needs only another token; in a namespace of format 1 as due|queue|body.
"""

from __future__ import annotations

from ..schema.record import Record, encode_record, new_record, readable_record


def encode_again(record: Record) -> bytes:
    """The bytes that are kept for the next run."""
    if record.format == "1":
        return f"{record.due_us}|{record.queue}|".encode() + record.body
    return encode_record(record)


def decode_again(task_id: str, raw: bytes | None) -> Record | None:
    """The next run in ``raw``; None if there is none, or if it cannot be read."""
    if raw is None:
        return None
    if record := readable_record(task_id, raw):
        return record
    try:
        due, queue, body = raw.split(b"|", 2)
        return new_record(task_id, int(due), queue.decode(), body, 0, "1")
    except ValueError:
        return None
