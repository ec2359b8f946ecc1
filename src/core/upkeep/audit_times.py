"""When the last audit began, and when one was requested. Any process uses it, a producer too, so it imports little."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError

from ..clock import US
from ..namespace import Namespace


class AuditTimes(NamedTuple):
    """The times as Redis has them, in epoch seconds; None: never."""

    began: bytes | None
    requested: bytes | None


def request_audit(namespace: Namespace) -> None:
    """Something was recovered, and the process that died may have left more behind: let an audit look for it."""
    with suppress(OutOfMemoryError):  # what was recovered matters more
        namespace.client.set(namespace.keys.plain("recovered"), namespace.store.time_us() // US)


def audit_times(namespace: Namespace) -> AuditTimes:
    """The times now."""
    keys = namespace.keys
    replies: Any = namespace.client.mget(keys.plain("audited"), keys.plain("recovered"))
    return AuditTimes(*replies)


def begin_audit(namespace: Namespace, now_s: int) -> bytes | None:
    """Note that an audit begins; returns when the one before it began."""
    last: Any = namespace.client.getset(namespace.keys.plain("audited"), now_s)
    return None if last is None else bytes(last)
