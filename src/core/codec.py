"""Record and arguments to bytes and back. The layout of a record is drawn in store/records.lua."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .errors import DueqError, InvalidTask, PayloadTooLarge

VERSION = b"1"
ID = re.compile(r"[!-~]{1,128}")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_CAUSES = {"": "", "r": "retry", "w": "worker_lost", "e": "lease_expired"}
_LETTERS = {cause: letter for letter, cause in _CAUSES.items()}


class Record(NamedTuple):
    """A task as Redis keeps it. Times are epoch microseconds."""

    id: str
    state: str  # S scheduled or ready, H held, L leased, D dead
    due_us: int
    queue: str
    starts: int
    retries: int
    losses: int
    cause: str  # why it starts again: '', 'retry', 'worker_lost', 'lease_expired'
    since_us: int  # when its last owner was lost, 0 if that does not apply
    token: int  # of the last claim, 0 if void
    worker: str
    body: bytes

    def started(self) -> Record:
        """This claim, once its task is started."""
        return Record(
            self.id,
            "L",
            self.due_us,
            self.queue,
            self.starts + 1,
            self.retries,
            self.losses,
            self.cause,
            self.since_us,
            self.token,
            self.worker,
            self.body,
        )


def decode_record(task_id: str, raw: bytes) -> Record:
    """The record in ``raw``. Raises DueqError if another version of dueq, or something else, wrote it."""
    try:
        version, state, due, queue, starts, retries, losses, cause, since, token, worker, body = raw.split(b"|", 11)
        if version != VERSION:
            raise ValueError(f"version {version!r}")
        return Record(
            task_id,
            state.decode(),
            int(due),
            queue.decode(),
            int(starts),
            int(retries),
            int(losses),
            _CAUSES[cause.decode()],
            int(since or 0),
            int(token or 0),
            worker.decode(),
            body,
        )
    except (ValueError, KeyError) as error:
        raise DueqError(
            f"the record of task {task_id} is unreadable ({error}): was it written by a newer dueq?"
        ) from None


def readable_record(task_id: str, raw: bytes | None) -> Record | None:
    """The record in ``raw``; None if there is none, or a newer dueq's, or a damaged one: that is left alone."""
    try:
        return None if raw is None else decode_record(task_id, raw)
    except DueqError:
        return None


def encode_record(record: Record) -> bytes:
    """The bytes that ``decode_record`` reads, the same that the scripts write."""
    head = (
        VERSION.decode(),
        record.state,
        str(record.due_us),
        record.queue,
        str(record.starts),
        str(record.retries),
        str(record.losses),
        _LETTERS[record.cause],
        str(record.since_us or ""),
        str(record.token or ""),
        record.worker,
    )
    return "|".join(head).encode() + b"|" + record.body


def encode_body(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int) -> bytes:
    """The call as JSON bytes.

    Raises InvalidTask if JSON cannot carry an argument unchanged, PayloadTooLarge past ``limit`` bytes.
    """
    call = [task, list(args), dict(kwargs)] if kwargs else [task, list(args)]
    try:
        text = _encode(call)
        body = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(
            f"the arguments of {task} are no JSON: {error}; pass plain values (ids, text, numbers, lists, "
            "dicts) and load the rest inside the task"
        ) from None
    for value in (*args, *kwargs.values()):
        _check_keys(task, value)
    if len(body) > limit:
        raise PayloadTooLarge(
            f"the arguments of {task} take {len(body):,} bytes, more than the {limit:,} allowed: store "
            "the data elsewhere and pass its id, or raise max_payload"
        )
    return body


def _check_keys(task: str, value: Any) -> None:
    # json turns a key 1 into "1" without a word: the task would get another argument than the one given
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidTask(f"an argument of {task} has the dict key {key!r}: JSON keeps text keys only")
            _check_keys(task, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(task, item)


def task_of(body: bytes) -> str:
    """The name of the task that ``body``, which ``encode_body`` made, calls."""
    return body[2 : body.find(b'"', 2)].decode()


def decode_body(body: bytes) -> tuple[str, list[Any], dict[str, Any]]:
    """Task name, positional and named arguments."""
    call = json.loads(body)
    return call[0], call[1], call[2] if len(call) > 2 else {}


def check_id(task_id: object) -> str:
    """Return ``task_id`` if it may name a task. Raises InvalidTask."""
    if not isinstance(task_id, str) or not ID.fullmatch(task_id):
        raise InvalidTask(f"{task_id!r} cannot be a task id: use 1 to 128 visible ASCII characters without spaces")
    return task_id
