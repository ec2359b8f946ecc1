"""What one call of a task may say besides its arguments and its time, checked where it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ..clock import US, due_us
from ..errors import InvalidTask
from ..schema.tail import MOST_HEADER_BYTES, tail
from .policy import LONGEST_S

Expires = float | timedelta | datetime
"""Until when a task may start: seconds or a timedelta after its due time, or an aware datetime."""

_AFTER = "write expires=60, timedelta(minutes=1) (after the due time), or an aware datetime"


def written(expires: Expires | None, headers: Mapping[str, str] | None) -> bytes:
    """The tail of the record that carries these. Raises InvalidTask."""
    if expires is None and not headers:
        return b""
    return tail("" if expires is None else _expiry(expires), _headers(headers or {}))


def _expiry(expires: Any) -> str:
    if isinstance(expires, datetime):
        return str(due_us(expires))
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST_S:
        raise InvalidTask(
            f"expires is {expires!r}, but is a time after the due time, of a hundred years at most: {_AFTER}"
        )
    return f"+{round(seconds * US)}"


def _headers(headers: Any) -> str:
    if not headers:
        return ""
    if not isinstance(headers, Mapping):
        raise InvalidTask(f"headers is {headers!r}, but must be a mapping of text to text")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidTask(f"the header {name!r} is {value!r}, but names and values of headers are text")
    text = json.dumps(dict(headers), separators=(",", ":"))
    if len(text) > MOST_HEADER_BYTES:
        raise InvalidTask(
            f"the headers take {len(text):,} bytes as JSON, more than the {MOST_HEADER_BYTES:,} allowed: put data into "
            f"the arguments"
        )
    return text
