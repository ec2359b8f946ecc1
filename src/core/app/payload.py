"""Encodes and decodes the call of a task: its name and its arguments, as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import DueqError, InvalidTask, PayloadTooLarge
from ..schema.record import encode_json, task_of
from .arguments import MOST_DIGITS, MOST_LEVELS, are_plain, complaint

_LONG_NUMBER = re.compile(rb"\d{%d}" % (MOST_DIGITS + 1))


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
            raise _unfit(task, args, kwargs, name, "a value changed while it was checked")
        call = [task, list(args), dict(kwargs)] if kwargs else [task, list(args)]
        body = encode_json(call).encode()
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
        raise wrong  # the Python that reads it may have other limits than this one
    return body


def _unfit(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], name: Callable[[int], str], why: str
) -> InvalidTask:
    return complaint(task, args, kwargs, name) or InvalidTask(f"the arguments of {task} are not JSON: {why}")


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
