"""A bucket, and an entry to take out of it."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.clock import US


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, which may be gone by now: its queue, its second, and how many tasks are in it."""

    queue: str
    second: int
    length: int = 0


@dataclass(frozen=True, slots=True)
class Pop:
    """An entry to take out of the right end of a bucket: its id if it was read, and how many entries of that id are
    void (0 if none is known to be)."""

    bucket: Bucket
    id: str = ""
    void: int = 0


def second_of(due_us: int) -> int:
    return -(-due_us // US)


def place_of(bucket: Bucket) -> tuple[str, int]:
    return bucket.queue, bucket.second


def void_field(second: int) -> str:
    """The field of ``sizes`` that has how many void entries are in the bucket of ``second``."""
    return f"void:{second}"
