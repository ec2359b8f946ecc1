"""Record and arguments to bytes and back. The layout of a record is drawn in store/records.lua."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .arguments import MOST_DIGITS, MOST_LEVELS, are_plain, complaint
from .errors import DueqError, InvalidTask, PayloadTooLarge

VERSION = b"1"
ID = re.compile(r"[!-~]{1,128}")

_LONG_NUMBER = re.compile(rb"\d{%d}" % (MOST_DIGITS + 1))
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_CAUSES = {"": "", "r": "retry", "w": "worker_lost", "e": "lease_expired"}
_LETTERS = {cause: letter for letter, cause in _CAUSES.items()}

_NAME, _NUMBER = rb"([A-Za-z0-9_.-]%b)", rb"(\d%b)"
_HEAD = re.compile(
    rb"1\|([SHLUD])\|"
    + rb"\|".join([_NUMBER % b"+", _NAME % b"+", *[_NUMBER % b"+"] * 3, rb"([rwe]?)", *[_NUMBER % b"{0,180}"] * 2])
    + rb"\|"
    + _NAME % b"*"
    + rb"\|"
)
_NEWER = re.compile(rb"(?!0|1\|)\d{1,2}\|")
_LONGEST = 180
"""No queue, due time and counters of a record take more bytes: the scripts read none that do."""
_SHOWN = 40
_CALL = re.compile(rb'\["[^"]*"')
_COUNT = re.compile(rb"-?\d{1,18}")


class Record(NamedTuple):
    """A task as Redis keeps it. Times are epoch microseconds."""

    id: str
    state: str  # S scheduled or ready, H held, L leased, U put aside (unclaimed), D dead
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
    head = _HEAD.match(raw)
    if head is None or head.end(8) - 3 >= _LONGEST:
        raise DueqError(
            f"the record of task {task_id} is unreadable: "
            + ("a newer dueq wrote it" if is_newer(raw) else f"it is damaged ({raw[:_SHOWN]!r}...)")
        )
    state, due, queue, starts, retries, losses, cause, since, token, worker = head.groups()
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
        raw[head.end() :],
    )


def is_newer(raw: bytes) -> bool:
    """Whether a newer dueq wrote this record: it is no damage, and left as it is."""
    return _NEWER.match(raw) is not None


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


def encode_body(
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    limit: int,
    name: Callable[[int], str] = lambda position: f"argument {position + 1}",
) -> bytes:
    """The call as JSON bytes; ``name`` tells what the positional arguments are called.

    Raises InvalidTask if JSON cannot carry an argument unchanged, PayloadTooLarge past ``limit`` bytes.
    """
    try:
        if not are_plain(args) or not are_plain(kwargs.values()):
            raise _unfit(task, args, kwargs, name, "a value changes while it is looked at")
        call = [task, list(args), dict(kwargs)] if kwargs else [task, list(args)]
        body = _encode(call).encode()
    except RecursionError:
        raise InvalidTask(f"the arguments of {task} are nested too deep for what is left of the stack here") from None
    except InvalidTask:
        raise
    except ValueError as error:
        raise _unfit(task, args, kwargs, name, str(error)) from None
    if len(body) > limit:
        raise PayloadTooLarge(
            f"the arguments of {task} take {len(body):,} bytes, more than the {limit:,} allowed: store "
            "the data elsewhere and pass its id, or raise max_payload"
        )
    if len(body) > MOST_DIGITS and _LONG_NUMBER.search(body) and (wrong := complaint(task, args, kwargs, name)):
        raise wrong  # read by a Python with other limits than this one's
    return body


def _unfit(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], name: Callable[[int], str], why: str
) -> InvalidTask:
    return complaint(task, args, kwargs, name) or InvalidTask(f"the arguments of {task} are no JSON: {why}")


def task_of(body: bytes, errors: str = "surrogateescape") -> str:
    """The name of the task that ``body``, which ``encode_body`` made, calls; of bytes that are no text, surrogates."""
    return body[2 : body.find(b'"', 2)].decode(errors=errors)


def is_call(body: bytes) -> bool:
    """Whether ``task_of`` finds a name in ``body``: what is no call at all is for a worker to bury."""
    return _CALL.match(body) is not None


def name_in_call(name: str) -> str:
    """What ``task_of`` finds in a call of the task ``name``: JSON may write it in another way."""
    return task_of(b"[" + _encode(name).encode("utf-8", "surrogatepass"))


def decode_body(body: bytes) -> tuple[str, list[Any], dict[str, Any]]:
    """Task name, positional and named arguments. Raises DueqError if they cannot be read."""
    try:
        call = json.loads(body)
        return call[0], call[1], call[2] if len(call) > 2 else {}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DueqError(f"a task's arguments cannot be read ({type(error).__name__}: {error})") from None


def shown_call(body: bytes) -> dict[str, Any]:
    """The call as JSON values, for people; or, of what cannot be read, or not be written again, why."""
    try:
        task, args, kwargs = decode_body(body)
        if are_plain([args, kwargs], MOST_LEVELS + 1):
            return {"task": task, "args": args, "kwargs": kwargs}
        why = f"nested more than {MOST_LEVELS} levels deep"
    except DueqError as error:
        why = str(error)
    return {"task": task_of(body, "replace"), "args": None, "kwargs": None, "arguments": f"{len(body):,} bytes, {why}"}


def number(raw: bytes | None) -> int:
    """A count as Redis keeps it; 0 for none, and for what is no number."""
    return int(raw) if raw is not None and _COUNT.fullmatch(raw) else 0


def check_id(task_id: object) -> str:
    """Return ``task_id`` if it may name a task. Raises InvalidTask."""
    if not isinstance(task_id, str) or not ID.fullmatch(task_id):
        raise InvalidTask(f"{task_id!r} cannot be a task id: use 1 to 128 visible ASCII characters without spaces")
    return task_id
