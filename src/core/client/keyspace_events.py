"""Keyspace notifications: receiving them, and the server's setting that they depend on.

dueq adds its flags to those that are set, and removes none: other programs may depend on theirs. (Redis cannot do this
atomically: the setting is written only if a flag is missing, right after it was read.) Managed servers often refuse
CONFIG, and have the flags set elsewhere. So CONFIG is not required: what counts is whether events come.
"""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hiredis
import redis
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from ..process.stop import readable

SETTING = "notify-keyspace-events"

_ALL = "g$lshzxetd"  # the flags that A stands for: not K, E, m, n, nor flags of later versions
_REPLY_S = 10.0
_PROBE_S = 0.5
_RECEIVED = 65536
_PATIENT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""The errors of a socket that has no data now."""


def channel(database: int, prefix: str) -> str:
    """The channel of the events of keys whose names begin with ``prefix``, without the rest of the name."""
    return f"__keyspace@{database}__:{prefix}"


class Subscription:
    """Events of one kind on the keys whose names begin with ``prefix``, over a connection of its own.

    It reads its socket itself: redis-py buffers messages that came together, where select does not see them; and it
    replaces a broken connection by one that has not subscribed.
    """

    def __init__(self, client: redis.Redis, prefix: str, event: str) -> None:
        self.prefix = prefix
        self._pool: Any = client.connection_pool
        self._channel, self._event = channel(self._pool.connection_kwargs.get("db") or 0, prefix), event.encode()
        self._connection: Any = None
        self._reader = hiredis.Reader()
        self.confirmed = False
        """Whether the server has replied to the last ``probe``."""

    @property
    def pattern(self) -> str:
        """What it subscribes to."""
        return f"{self._channel}*"

    @property
    def open(self) -> bool:
        """Whether it listens, as far as this process knows. Closing the whole pool closes this, too."""
        return self._connection is not None and self._connection._sock is not None

    def start(self) -> None:
        """Subscribe. Events from before are lost. Raises redis-py's errors, then it is not open."""
        self.close()
        self._connection, self._reader = self._pool.get_connection(), hiredis.Reader()
        try:
            self.probe()
            self._connection._sock.setblocking(False)
            deadline = time.monotonic() + _REPLY_S
            while not self.confirmed:
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError("no answer to PSUBSCRIBE")
                readable([self.fileno()], left)
                self.read()
        except BaseException:
            self.close()
            raise

    def probe(self) -> None:
        """Subscribe once more, which changes nothing, to see whether the connection is alive."""
        self.confirmed = False
        self._connection.send_command("PSUBSCRIBE", self.pattern)  # PING is refused here before Redis 3.0

    def fileno(self) -> int:
        """Readable when there is something to ``read``."""
        return int(self._connection._sock.fileno())  # redis-py has no public way to wait from outside

    def read(self) -> list[str]:
        """The keys, without ``prefix``, of the events that have come. Never waits.

        Raises ConnectionError if the connection is lost, ResponseError if the server refuses the subscription.
        """
        keys: list[str] = []
        while data := self._received():
            self._reader.feed(data)
            while (message := self._reader.gets()) is not False:
                self._take(message, keys)
        return keys

    def wait(self, seconds: float, wakeup_fd: int = -1) -> list[str]:
        """``read``, once there is an event; empty after ``seconds``, or if ``wakeup_fd`` is readable before."""
        deadline = time.monotonic() + seconds
        woken = False
        while not (keys := self.read()) and not woken and (left := deadline - time.monotonic()) > 0:
            waited_for = [self.fileno()] if wakeup_fd < 0 else [self.fileno(), wakeup_fd]
            woken = wakeup_fd in readable(waited_for, left)
        return keys

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def _received(self) -> bytes:
        """The data that has come; empty if none has. TLS holds nothing back then, so select can be trusted."""
        try:
            data: bytes = self._connection._sock.recv(_RECEIVED)
        except _PATIENT:
            return b""
        except OSError as error:
            raise ConnectionError(f"the connection for events broke: {error}") from error
        if not data:
            raise ConnectionError("the server closed the connection for events")
        return data

    def _take(self, message: Any, keys: list[str]) -> None:
        if isinstance(message, hiredis.ReplyError):
            raise ResponseError(str(message))
        if message[0] == b"psubscribe":
            self.confirmed = True
        elif message[0] == b"pmessage" and message[3] == self._event:
            keys.append(message[2].decode()[len(self._channel) :])


# -- the setting


def flags(client: redis.Redis) -> str | None:
    """The flags that are set; None if the server refuses to say."""
    try:
        reply: Any = client.config_get(SETTING)
    except ResponseError:
        return None
    value = next(iter(reply.values()), None)
    return value.decode() if isinstance(value, bytes) else value


def missing(found: str, wanted: str) -> str:
    """Which of the flags ``wanted`` are not among ``found``."""
    return "".join(flag for flag in wanted if flag not in found and not ("A" in found and flag in _ALL))


def add_flags(client: redis.Redis, wanted: str) -> str | None:
    """Add ``wanted`` to the flags that are set; returns those added, None if the server refuses CONFIG."""
    found = flags(client)
    if found is None:
        return None
    if lacking := missing(found, wanted):
        try:
            client.config_set(SETTING, found + lacking)
        except ResponseError:
            return None
    return lacking


# -- whether a server will do


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no events can be had, and what to change."""

    reason: str
    remedy: str


def refusal(client: redis.Redis, wanted: str, prefix: str) -> Refusal | None:
    """Why the events of ``wanted`` cannot be had on the keys whose names begin with ``prefix``; None if they come, or
    will once their flags are added.

    Changes nothing, except where CONFIG is refused: then a key that lives for a millisecond shows whether events come.
    """
    probe = f"{prefix}probe:{secrets.token_hex(8)}"
    subscription = Subscription(client, prefix, "expired")
    try:
        subscription.start()
    except ResponseError as error:
        # an ACL allows a pattern only if it names exactly this one
        allowed = f"+psubscribe &{subscription.pattern}"
        return Refusal(f"PSUBSCRIBE is refused: {error}", f"allow the user PSUBSCRIBE and its channel: {allowed}")
    try:
        return _flags_refusal(client, wanted, lambda: _event_comes(client, subscription, probe))
    finally:
        subscription.close()


def _flags_refusal(client: redis.Redis, wanted: str, events_come: Callable[[], bool]) -> Refusal | None:
    found = flags(client)
    if found is None:
        try:
            reason = "" if events_come() else "no event came of a key that expired"
        except ResponseError as error:
            reason = f"so is setting a key to try events with: {error}"
        remedy = _remedy(f"{wanted}, beside what it is set to now,")
        return Refusal(f"CONFIG GET is refused, and {reason}", remedy) if reason else None
    lacking = missing(found, wanted)
    if not lacking or not (refused := _set_refusal(client)):
        return None
    return Refusal(f"{SETTING} is {found!r}, and CONFIG SET is refused: {refused}", _remedy(found + lacking))


def _remedy(value: str) -> str:
    return (
        f"set {SETTING} to {value} in redis.conf or among the parameters that the server's provider offers, or allow "
        f"the user CONFIG GET and CONFIG SET"
    )


def _set_refusal(client: redis.Redis) -> str:
    """How the server refuses to change the setting; empty if it would allow it.

    It is asked to set a flag that no version knows, so nothing changes, not even what others change at this moment.
    """
    try:
        client.config_set(SETTING, "?")
    except ResponseError as error:
        return "" if "invalid" in str(error).lower() else str(error)
    return "it accepted a flag that does not exist, so it only pretends to set them"


def _event_comes(client: redis.Redis, subscription: Subscription, key: str) -> bool:
    client.set(key, "", px=1)
    time.sleep(0.003)
    client.exists(key)  # Redis expires a key at once when it is looked at
    deadline = time.monotonic() + _PROBE_S
    name = key.removeprefix(subscription.prefix)
    while (left := deadline - time.monotonic()) > 0:
        if name in subscription.wait(left):  # others' events come here, too
            return True
    return False
