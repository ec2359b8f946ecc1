"""Encodes and decodes records, and finds the name in a call. schema/records.lua shows the layout of a record."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from ..errors import DueqError, InvalidTask
from .bounds import MOST_HEAD_BYTES, MOST_ID_CHARACTERS
from .states import State

VERSION = b"1"
ID = re.compile(rf"[!-~]{{1,{MOST_ID_CHARACTERS}}}")

encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""How everything in a call is written."""
_CAUSES = {"": "", "r": "retry", "w": "worker_lost", "e": "lease_expired"}
_LETTERS = {cause: letter for letter, cause in _CAUSES.items()}

_NAME, _NUMBER = rb"([A-Za-z0-9_.-]%b)", rb"(\d%b)"
_HEAD = re.compile(
    rb"1\|([%b])\|" % "".join(State).encode()
    + rb"\|".join(
        [
            _NUMBER % b"+",
            _NAME % b"+",
            *[_NUMBER % b"+"] * 3,
            rb"([rwe]?)",
            *[_NUMBER % (b"{0,%d}" % MOST_HEAD_BYTES)] * 2,
        ]
    )
    + rb"\|"
    + _NAME % b"*"
    + rb"\|"
)
_NEWER = re.compile(rb"(?!0|1\|)\d{1,2}\|")
_STATES = {state.encode(): state for state in State}
_SHOWN = 40
_CALL = re.compile(rb'\["[^"]*"')
_COUNT = re.compile(rb"-?\d{1,18}")


class Record(NamedTuple):
    """A task as Redis keeps it. Times are epoch microseconds."""

    id: str
    state: State
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
        """This claim as it is once its task is started; itself if it is."""
        if self.state == State.LEASED:
            return self
        return Record(
            self.id,
            State.LEASED,
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

    def unstarted(self) -> Record:
        """This claim without the start that a step counted, since its task never began."""
        return self._replace(state=State.HELD, starts=self.starts - 1) if self.state == State.LEASED else self


def decode_record(task_id: str, raw: bytes) -> Record:
    """The record in ``raw``. Raises DueqError if another version of dueq, or something else, wrote it."""
    head = _HEAD.match(raw)
    if head is None or head.end(8) - 3 >= MOST_HEAD_BYTES:
        raise DueqError(
            f"the record of task {task_id} is unreadable: "
            + ("a newer dueq wrote it" if is_newer(raw) else f"it is damaged ({raw[:_SHOWN]!r}...)")
        )
    state, due, queue, starts, retries, losses, cause, since, token, worker = head.groups()
    return Record(
        task_id,
        _STATES[state],
        int(due),
        queue.decode(),
        int(starts),
        int(retries),
        int(losses),
        _CAUSES[cause.decode()],
        int(since or 0),
        int(token or 0),
        worker.decode(),
        raw[head.end() :],
    )


def is_newer(raw: bytes) -> bool:
    """Whether a newer dueq wrote this record: then it is not damaged, and is left as it is."""
    return _NEWER.match(raw) is not None


def readable_record(task_id: str, raw: bytes | None) -> Record | None:
    """The record in ``raw``; None if there is none, if a newer dueq wrote it, or if it is damaged."""
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


def task_of(body: bytes, errors: str = "surrogateescape") -> str:
    """The name of the task that ``body`` (see payload.py) calls; bytes that are not UTF-8 become surrogates."""
    return body[2 : body.find(b'"', 2)].decode(errors=errors)


def is_call(body: bytes) -> bool:
    """Whether ``task_of`` finds a name in ``body``. A worker buries a task whose body is not a call."""
    return _CALL.match(body) is not None


def name_in_call(name: str) -> str:
    """What ``task_of`` finds in a call of the task ``name``: JSON may write it in another way."""
    return task_of(b"[" + encode_json(name).encode("utf-8", "surrogatepass"))


def number(raw: bytes | None) -> int:
    """A count as Redis keeps it; 0 if there is none, or if it is not a number."""
    return int(raw) if raw is not None and _COUNT.fullmatch(raw) else 0


def check_id(task_id: object) -> str:
    """Return ``task_id`` if it may name a task. Raises InvalidTask."""
    if not isinstance(task_id, str) or not ID.fullmatch(task_id):
        raise InvalidTask(
            f"{task_id!r} cannot be a task id: use 1 to {MOST_ID_CHARACTERS} visible ASCII characters without spaces"
        )
    return task_id
