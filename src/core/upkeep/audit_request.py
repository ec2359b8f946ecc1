"""Asking for an audit, for any process: a producer, too, which needs nothing of what an audit needs."""

from __future__ import annotations

from contextlib import suppress

from redis.exceptions import OutOfMemoryError

from ..clock import US
from ..namespace import Namespace


def request_audit(namespace: Namespace) -> None:
    """Something was recovered: what a process did as it died may have left something behind. For any process."""
    with suppress(OutOfMemoryError):  # what was recovered matters more
        namespace.client.set(namespace.keys.plain("recovered"), namespace.store.time_us() // US)
