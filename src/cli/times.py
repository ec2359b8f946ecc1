"""Due times as people and scripts write them: an instant for ``--at``, a delay for ``--in``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from ..core.clock import datetime_of, delay_us, due_us
from ..core.errors import InvalidTask, NaiveDatetime

AT_HELP = "ISO 8601 with a zone (2030-01-31T09:00Z, 2030-01-31T09:00+01:00), or epoch seconds; the past means now"
EXPIRES_HELP = "a delay after its due time, or ISO 8601 with a zone"
IN_HELP = "a delay: 90s, 10m, 2h, 1d, or several (1h30m); a bare number is seconds"

_PARTS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def at_us(text: str | float) -> int:
    """Epoch microseconds of ``text``. Raises InvalidTask."""
    if not isinstance(text, str):
        return due_us(text)
    try:
        return due_us(float(text))
    except ValueError as error:
        if isinstance(error, InvalidTask):
            raise
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidTask(f"{text!r} is not a time: write {AT_HELP}") from None
    if when.tzinfo is None:
        raise NaiveDatetime(
            f"{text!r} has no time zone, so it names no instant: write {text}Z for UTC, or {text}+01:00"
        )
    return due_us(when)


def in_us(text: str | float) -> int:
    """Microseconds of the delay ``text``. Raises InvalidTask."""
    if not isinstance(text, str):
        return delay_us(text)
    if _NUMBER.fullmatch(text.strip()):
        return delay_us(float(text))
    parts, at, seconds = text.strip(), 0, 0.0
    while found := _PART.match(parts, at):
        seconds += float(found[1]) * _PARTS[found[2]]
        at = found.end()
    if not parts or at != len(parts):
        raise InvalidTask(f"{text!r} is not a delay: write {IN_HELP}")
    return delay_us(seconds)


def expiry(text: str | float) -> timedelta | datetime:
    """Until when a task may start: a delay after its due time, or an instant. Raises InvalidTask."""
    if not isinstance(text, str):
        return timedelta(microseconds=in_us(text))
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return timedelta(microseconds=in_us(text))
    return datetime_of(at_us(text))


def due(at: str | float | None, in_: str | float | None) -> tuple[int, bool]:
    """The due time in microseconds, and whether it counts from now. Raises InvalidTask unless just one is given."""
    if at is not None and in_ is None:
        return at_us(at), False
    if in_ is not None and at is None:
        return in_us(in_), True
    raise InvalidTask("a due time is needed: either at or in (--at or --in)" + (", not both" if at is not None else ""))
