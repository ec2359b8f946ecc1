"""Encodes and decodes records, and finds the name in a call. schema/records.lua shows the layout of a record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import DueqError, InvalidTask
from . import tail as tails
from .bounds import MOST_HEAD_BYTES, MOST_ID_CHARACTERS
from .format import FORMATS, NEWEST
from .states import State

ID = re.compile(rf"[!-~]{{1,{MOST_ID_CHARACTERS}}}")

encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""How everything in a call is written."""
_CAUSES = {"": "", "r": "retry", "w": "worker_lost", "e": "lease_expired", "s": "snoozed"}
_LETTERS = {cause: letter for letter, cause in _CAUSES.items()}

_COUNTS = (rb"(\d+)",) * 3  # starts, retries, losses
_WHY = (rb"([rwe]?)", rb"(\d{0,%d})" % MOST_HEAD_BYTES)  # cause, since
_CLAIM = (rb"(\d{0,%d})" % MOST_HEAD_BYTES, rb"([A-Za-z0-9_.-]*)")  # token, worker
_WAITS = (rb"([%b])" % "".join(State).encode(), rb"(\d+)", rb"([A-Za-z0-9_.-]+)")  # state, due, queue
_HEAD_1 = re.compile(rb"\|".join([b"1", *_WAITS, *_COUNTS, *_WHY, *_CLAIM, b""]))
_HEAD_2 = re.compile(rb"\|".join([b"2", *_WAITS, rb"(\d*)", rb"([\d,rwes]*)", *_CLAIM, rb"([^|]*)", b""]))
_HISTORY = re.compile(rb",".join([*_COUNTS, rb"([rwes]?)", _WHY[1]]))
_NOTHING_YET = (b"0", b"0", b"0", b"", b"")
_NEWER = re.compile(rb"(?!0|(?:%b)\|)\d{1,2}\|" % "|".join(FORMATS).encode())
_STATES = {state.encode(): state for state in State}
_SHOWN = 40
_NO_HISTORY = "0,0,0,,"
MS = 1000
"""Microseconds of a millisecond."""
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
    cause: str  # why it starts again: '', 'retry', 'worker_lost', 'lease_expired', 'snoozed'
    since_us: int  # when its last owner was lost, 0 if that does not apply
    token: int  # of the last claim, 0 if void
    worker: str
    body: bytes
    format: str = NEWEST
    scheduled_us: int = 0  # in whole milliseconds, 0 if that is not known
    tail: bytes = b""  # further fields, see tail.py

    @property
    def expires_us(self) -> int:
        """Until when the task may start; 0 if for ever."""
        return tails.expires_us(self.tail)

    @property
    def headers(self) -> Mapping[str, str]:
        """What its producer gave it on its way."""
        return tails.headers(self.tail)

    def since_scheduled(self) -> dict[str, int]:
        """When the task was scheduled, as a fact of entries in the journal; nothing if that is not known."""
        return {"scheduled_us": self.scheduled_us} if self.scheduled_us else {}

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
            self.format,
            self.scheduled_us,
            self.tail,
        )

    def unstarted(self) -> Record:
        """This claim without the start that a step counted, since its task never began."""
        return self._replace(state=State.HELD, starts=self.starts - 1) if self.state == State.LEASED else self


def decode_record(task_id: str, raw: bytes) -> Record:
    """The record in ``raw``. Raises DueqError if another version of dueq, or something else, wrote it."""
    record = _decoded_2(task_id, raw) or _decoded_1(task_id, raw)
    if record is None:
        raise DueqError(
            f"the record of task {task_id} is unreadable: "
            + ("a newer dueq wrote it" if is_newer(raw) else f"it is damaged ({raw[:_SHOWN]!r}...)")
        )
    return record


# These two end alike: a function in common would make reading a record, which is in every step, a fifth slower.
def _decoded_2(task_id: str, raw: bytes) -> Record | None:
    head = _HEAD_2.match(raw)
    if head is None or head.end(5) - 3 >= MOST_HEAD_BYTES:
        return None
    state, due, queue, wait, past, token, worker, tail = head.groups()
    history = _HISTORY.fullmatch(past) if past else None
    if past and history is None:
        return None
    due_us = int(due)
    scheduled_us = _millisecond(due_us) - int(wait) * MS if wait else 0
    starts, retries, losses, cause, since = history.groups() if history else _NOTHING_YET
    return Record(
        task_id,
        _STATES[state],
        due_us,
        queue.decode(),
        int(starts),
        int(retries),
        int(losses),
        _CAUSES[cause.decode()],
        int(since or 0),
        int(token or 0),
        worker.decode(),
        raw[head.end() :],
        "2",
        scheduled_us,
        tail,
    )


def _decoded_1(task_id: str, raw: bytes) -> Record | None:
    head = _HEAD_1.match(raw)
    if head is None or head.end(8) - 3 >= MOST_HEAD_BYTES:
        return None
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
        "1",
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
    past = (
        str(record.starts),
        str(record.retries),
        str(record.losses),
        _LETTERS[record.cause],
        str(record.since_us or ""),
    )
    before = (record.format, record.state, str(record.due_us), record.queue)
    claim = (str(record.token or ""), record.worker)
    if record.format == "1":
        return "|".join((*before, *past, *claim)).encode() + b"|" + record.body
    wait = max(0, _millisecond(record.due_us) - record.scheduled_us) // MS if record.scheduled_us else ""
    history = ",".join(past)
    head = (*before, str(wait), "" if history == _NO_HISTORY else history, *claim)
    return b"|".join(("|".join(head).encode(), record.tail, record.body))


def new_record(
    task_id: str, due_us: int, queue: str, body: bytes, now_us: int, format_: str = NEWEST, tail: bytes = b""
) -> Record:
    """The record of a task that is scheduled now, in a namespace whose new records have this format."""
    scheduled_us = 0 if format_ == "1" else _millisecond(now_us)
    return Record(task_id, State.SCHEDULED, due_us, queue, 0, 0, 0, "", 0, 0, "", body, format_, scheduled_us, tail)


def _millisecond(us: int) -> int:
    """The beginning of the millisecond in which ``us`` lies, in microseconds: records say no more of some times."""
    return us - us % MS


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
