"""Keyspace notifications: hearing them, and the server's setting that they depend on.

Its flags are added to those that are set, never replaced: others may depend on theirs. Managed servers often refuse
CONFIG, and have them set elsewhere: so it is not required, and what counts is whether events come.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import redis
from redis.exceptions import ResponseError

from .stop import readable

SETTING = "notify-keyspace-events"

_PROBE_S = 0.5


class Subscription:
    """Events of one kind on the keys that match a pattern, over a connection of its own."""

    def __init__(self, client: redis.Redis, pattern: str, event: str) -> None:
        self._pool: Any = client.connection_pool
        database = self._pool.connection_kwargs.get("db") or 0
        self._channels, self._event = f"__keyspace@{database}__:{pattern}", event.encode()
        self._connection: Any = None

    @property
    def open(self) -> bool:
        return self._connection is not None

    def start(self) -> None:
        """Subscribe. Events from before are lost."""
        self._connection = self._pool.get_connection()
        self._connection.send_command("PSUBSCRIBE", self._channels)
        self._connection.read_response()

    def fileno(self) -> int:
        """Readable when there is something to ``drain``."""
        return int(self._connection._sock.fileno())  # redis-py has no public way to wait from outside

    def drain(self) -> int:
        """Read what has come, without waiting; returns how many events that was."""
        events = 0
        while self.open and self._connection.can_read(0):
            *_, event = self._connection.read_response()
            events += event == self._event
        return events

    def wait(self, seconds: float) -> bool:
        """Wait for an event, at most so long; True if there was one."""
        deadline = time.monotonic() + seconds
        while not (events := self.drain()) and (left := deadline - time.monotonic()) > 0:
            readable([self.fileno()], left)
        return bool(events)

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)


def flags(client: redis.Redis) -> str | None:
    """The flags that are set; None if the server does not tell."""
    try:
        told: Any = client.config_get(SETTING)
    except ResponseError:
        return None
    value = next(iter(told.values()), None)
    return value.decode() if isinstance(value, bytes) else value


def missing(found: str, wanted: str) -> str:
    """Which of the flags ``wanted`` are not among ``found``, where A stands for every kind of event."""
    return "".join(flag for flag in wanted if flag not in found and not ("A" in found and flag not in "KE"))


def add_flags(client: redis.Redis, wanted: str) -> bool:
    """Add ``wanted`` to the flags that are set; False if the server refuses to tell or to change them."""
    found = flags(client)
    if found is None:
        return False
    if lacking := missing(found, wanted):
        try:
            client.config_set(SETTING, found + lacking)
        except ResponseError:
            return False
    return True


def refusal(client: redis.Redis, wanted: str) -> str:
    """Why the events of ``wanted`` cannot be had; empty if they come, or if the flags may be added.

    Changes nothing, except where CONFIG is refused: then a key that lives for a millisecond shows whether events come.
    """
    found = flags(client)
    if found is not None and not missing(found, wanted):
        return ""
    try:
        if found is not None:
            client.config_set(SETTING, found)  # no change, but the answer to whether one would be allowed
            return ""
    except ResponseError as error:
        return f"{SETTING} is {found!r}, and CONFIG SET is refused: {error}"
    return "" if _events_come(client) else "CONFIG is refused, and no event came of a key that expired"


def _events_come(client: redis.Redis) -> bool:
    key = f"dueq:probe:{secrets.token_hex(8)}"
    subscription = Subscription(client, key, "expired")
    try:
        subscription.start()
        client.set(key, "", px=1)
        time.sleep(0.003)
        client.exists(key)  # Redis expires a key at once when it is looked at
        return subscription.wait(_PROBE_S)
    finally:
        subscription.close()
