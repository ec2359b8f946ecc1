"""The tail of a record: named fields for which its head has no place, ``name=value;`` each.

``x`` is until when the task may start, epoch microseconds; ``+n`` on its way to the store means n microseconds after
its due time. ``h`` has the task's headers: a JSON object without ``|`` and ``;``, which JSON can write in another way.
Fields that this version does not know are kept as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

EXPIRES, HEADERS = "expires", "headers"
FIELDS = {"x": EXPIRES, "h": HEADERS}
"""Which record feature (see format.py) the name of a field stands for."""

MOST_HEADER_BYTES = 1024
"""Bytes of a task's headers, as JSON."""

_EXPIRES = re.compile(rb"(?:^|;)x=(\d{1,18});")
_AFTER_DUE = re.compile(rb"^x=\+(\d+);")
_HEADERS = re.compile(rb"(?:^|;)h=([^;|]*);")
_ESCAPES = str.maketrans({"|": "\\u007c", ";": "\\u003b"})


def tail(expires: str, headers: str) -> bytes:
    """The tail with these fields; an empty one is left out."""
    fields = (("x", expires), ("h", headers.translate(_ESCAPES)))
    return "".join(f"{name}={value};" for name, value in fields if value).encode()


def settled_tail(raw: bytes, due_us: int) -> bytes:
    """The tail of a task that is due then: what counts from the due time becomes a time."""
    return _AFTER_DUE.sub(lambda found: b"x=%d;" % (due_us + int(found[1])), raw)


def expires_us(raw: bytes) -> int:
    """Until when the task may start, epoch microseconds; 0 if for ever."""
    found = _EXPIRES.search(raw) if raw else None
    return int(found[1]) if found else 0


def headers(raw: bytes) -> Mapping[str, str]:
    """The task's headers; none if they are damaged."""
    found = _HEADERS.search(raw) if raw else None
    if found is None:
        return {}
    try:
        kept = json.loads(found[1])
    except ValueError:
        return {}
    good = isinstance(kept, dict) and all(isinstance(value, str) for value in kept.values())
    return kept if good else {}


def features(raw: bytes) -> set[str]:
    """The record features that a tail uses."""
    names = (field.partition(b"=")[0].decode(errors="replace") for field in raw.split(b";"))
    return {FIELDS[name] for name in names if name in FIELDS}
