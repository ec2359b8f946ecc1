"""The one place where clients of Redis are made.

Every client speaks RESP2 without a HELLO (servers before Redis 6 refuse it), and none sends a command twice:
redis-py re-sends by default, which repeats pushes, pops and scripts that the server had already executed.
"""

from __future__ import annotations

import builtins
import os
import re
import socket
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.connection import DefaultParser, SSLConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    DataError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

from ..errors import (
    ConfigurationError,
    DueqError,
    NamespaceDamaged,
    ServerRefused,
    ServerUnavailable,
    StrategyUnavailable,
    StrategyYields,
)
from . import deadline
from .addresses import options_of
from .partly import is_doubtful
from .protocol import LENIENT
from .redaction import redact
from .sentinel import SCHEMES, sentinel_pool
from .tls import secured

BLOCKING_S = 30
"""Longest time in seconds that any command blocks in the server."""

_TIMEOUT_S = BLOCKING_S + 10.0
_CONNECT_S = 5.0
_SCHEMES = ("redis://", "rediss://", "unix://")
_UNESCAPED = re.compile(r"rediss?(?:\+sentinel)?://(?=[^@]*[/?#][^@]*@|[^@]*@[^?#]*@)")
_NOT_CONNECTED = re.compile(r"Error -?\d+ connecting to ")  # as redis-py says it
_NO_DATABASE = re.compile(r"invalid DB index|DB index is out of range", re.IGNORECASE)
_OF_CLUSTER = (AskError, ClusterDownError, ClusterCrossSlotError, TryAgainError)  # MOVED is an AskError, too
_BEFORE_ALL = (ReadOnlyError, OutOfMemoryError, BusyLoadingError, MasterDownError, AuthenticationError)
_STOPPED_WRITES = ("MISCONF", "NOREPLICAS")
_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "peer did not return a certificate")
_CUT_SHORT = "EOF occurred in violation of protocol"  # of TLS; a server's reason may be lost when it hangs up at once
TRANSIENT = (ConnectionError, TimeoutError, ResponseError, OSError, StrategyYields, NamespaceDamaged)
"""What a long-lived loop survives by waiting and trying again. The supervisor sees to a namespace that yields, or is
damaged."""


class CommandCount:
    """How many commands this process has sent to Redis (pipelines count each command)."""

    def __init__(self) -> None:
        self.sent = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.sent += count

    def renew_lock(self) -> None:
        """In a forked child: another thread of the parent may have held it."""
        self._lock = threading.Lock()


COMMANDS = CommandCount()
os.register_at_fork(after_in_child=COMMANDS.renew_lock)


_ParserBase: Any = DefaultParser


class _Parser(_ParserBase):  # type: ignore[misc]
    """Reads answers, and keeps to the deadline of the call that waits for them, in however many pieces they come."""

    def read_from_socket(self, *args: Any, **kwargs: Any) -> Any:
        if deadline.is_set() and self._sock is not None:
            self._sock.settimeout(deadline.left(_TIMEOUT_S))
        return super().read_from_socket(*args, **kwargs)


def _packed(command: Sequence[Any]) -> bytes:
    try:
        return bytes(pack_command(tuple(command)))
    except UnicodeEncodeError:
        return bytes(pack_command(_as_bytes(command)))


def _as_bytes(command: Sequence[Any]) -> tuple[Any, ...]:
    """A command whose texts may have been read from damaged bytes: they go back as they came."""
    return tuple(part.encode(errors=LENIENT) if isinstance(part, str) else part for part in command)


def _counting(base: type[Any]) -> type[Any]:
    """``base``, a redis-py connection class, made to count what it sends, and to pack and send single commands itself.

    Around a command that is no more than a packet on its way redis-py does more than the kernel.
    """
    if issubclass(base, SSLConnection):
        base = secured(base)

    class Counting(base):  # type: ignore[misc]
        socket_connect_timeout: float | None
        patience = 0.0  # seconds; the time that its socket may take, where the socket itself does not see to that

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{"parser_class": _Parser, **kwargs})

        def send_command(self, *args: Any, **kwargs: Any) -> None:
            COMMANDS.add(1)
            if " " in args[0]:  # two words, as redis-py names some
                super().send_command(*args, **kwargs)
                return
            try:
                packed = _packed(args)
            except TypeError as error:
                raise DataError(str(error)) from None
            if kwargs.get("check_health", True) or self._sock is None:
                self.send_packed_command((packed,), check_health=kwargs.get("check_health", True))
                return
            try:
                self._send(packed)
            except builtins.TimeoutError:
                self.disconnect()
                raise TimeoutError("Redis has not taken a command in time") from None
            except OSError as error:
                self.disconnect()
                raise ConnectionError(f"the connection broke: {error}") from None
            except BaseException:
                self.disconnect()  # half a command may have been sent
                raise

        def _connect(self) -> Any:
            if not deadline.is_set():
                return super()._connect()
            patience = self.socket_connect_timeout
            self.socket_connect_timeout = min(patience or _CONNECT_S, deadline.left(_CONNECT_S))
            try:
                return super()._connect()
            finally:
                self.socket_connect_timeout = patience

        def _send(self, packed: bytes) -> None:
            if not self.patience:
                if deadline.is_set():
                    self._sock.settimeout(deadline.left(_TIMEOUT_S))
                self._sock.sendall(packed)
                return
            try:
                sent = self._sock.send(packed, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            if sent < len(packed):
                self._sock.settimeout(deadline.left(self.patience))
                self._sock.sendall(memoryview(packed)[sent:])
                self._sock.settimeout(None)

        def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
            if deadline.is_set() and self._sock is not None:
                self._sock.settimeout(deadline.left(_TIMEOUT_S))
            super().send_packed_command(*args, **kwargs)

        def pack_commands(self, commands: Any) -> Any:
            commands = list(commands)
            COMMANDS.add(len(commands))
            try:
                return super().pack_commands(commands)
            except UnicodeEncodeError:
                return super().pack_commands([_as_bytes(command) for command in commands])

    return Counting


def _pool(url: str, timeout: float) -> redis.ConnectionPool:
    if any(character.isspace() for character in url):
        raise ConfigurationError("the Redis address holds white space: write a space in a user or password as %20")
    if not url.startswith((*_SCHEMES, *SCHEMES)):
        raise ConfigurationError(
            f"{redact(url)!r} is no Redis address: use redis://, rediss://, unix://, redis+sentinel:// or "
            f"rediss+sentinel://"
        )
    if _UNESCAPED.match(url):
        # read on, such a password would be taken for a host name, and shown as one in errors
        raise ConfigurationError(
            f"{redact(url)!r}: write / as %2F, @ as %40, ? as %3F and # as %23 in user and password"
        )
    options: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "socket_timeout": timeout,
        "decode_responses": False,
    }
    if not url.startswith("unix://"):
        options |= {"socket_connect_timeout": min(timeout, _CONNECT_S), "socket_keepalive": True}
    if url.startswith(SCHEMES):
        watched = sentinel_pool(url, options)
        watched.connection_class = _counting(watched.connection_class)
        return watched
    options_of(url)
    try:
        pool = redis.ConnectionPool.from_url(url, **options)
    except ValueError as error:
        raise ConfigurationError(f"{redact(url)!r} is no usable Redis address: {redact(str(error))}") from None
    path = urlsplit(url).path
    if not url.startswith("unix://") and not re.fullmatch(r"/?\d*", path):
        raise ConfigurationError(f"{redact(url)!r}: {path!r} is no database number")
    pool.connection_class = _counting(pool.connection_class)
    try:
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError) as error:
        raise ConfigurationError(
            f"{redact(url)!r} has an option that redis-py does not know, or not so: {redact(str(error))}"
        ) from None
    return pool


def connect(url: str, *, timeout: float = _TIMEOUT_S, plain: bool = False) -> redis.Redis:
    """A pooled, thread-safe client of the server at ``url``; nothing is sent until its first command.

    ``timeout`` (seconds) bounds each reply; the default exceeds the longest blocking command. A ``plain`` one has
    redis-py's connections as they are, for measuring what dueq's are held against.
    Raises ConfigurationError if ``url`` is no Redis address.
    """
    pool = _pool(url, timeout)
    if plain:
        pool.connection_class = pool.connection_class.__base__
    return redis.Redis(connection_pool=pool)


class explained:  # used like a function; contextlib's would cost a producer more than its task's JSON
    """Turn redis-py's errors, and answers that are no text of dueq's, into DueqErrors that name the server and the next
    step: nothing else leaves the Python API."""

    __slots__ = ("_url", "_writes")

    def __init__(self, url: str, *, writes: bool = True) -> None:
        """``writes`` is whether anything here may be a write: then its outcome can be in doubt."""
        self._url, self._writes = url, writes

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        if isinstance(error, (RedisError, UnicodeDecodeError)):
            explanation = _explanation(error, redact(self._url), self._writes)
            explanation.untouched = _is_before_all(error)
            raise explanation from error


def _is_before_all(error: RedisError | UnicodeDecodeError) -> bool:
    """Whether Redis was not reached, or refused before it did anything of a script or a transaction.

    It asks once, before the first write, whether it takes writes. What it may refuse later (a permission, a key of
    another type) leaves done what was done before.
    """
    if is_doubtful(error):
        return False
    code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return isinstance(error, _BEFORE_ALL) or code in _STOPPED_WRITES or bool(_NOT_CONNECTED.match(str(error)))


def _explanation(error: RedisError | UnicodeDecodeError, where: str, writes: bool) -> DueqError:
    if is_of_cluster(error):
        return ServerRefused(f"Redis at {where}: {described(error)}")
    match error:
        case AuthenticationError() | NoPermissionError():
            return ServerRefused(
                f"Redis at {where} refused the login or the permission: {error}; check the user and "
                "password in the address, and the user's ACL"
            )
        case ReadOnlyError():
            return ServerRefused(f"Redis at {where} is a read-only replica; point dueq at the primary")
        case BusyLoadingError():
            return ServerRefused(f"Redis at {where} is still loading its data; try again in a moment")
        case OutOfMemoryError():
            return ServerRefused(f"Redis at {where} is at its maxmemory; free some or raise it, then try again")
        case ConnectionError() | TimeoutError():
            return ServerUnavailable(
                f"cannot reach Redis at {where}: {described(error).removesuffix('.')}; check that it runs and can be "
                f"reached from here (redis-cli ping){_doubt(error) if writes else ''}"
            )
        case InvalidResponse():
            return ServerUnavailable(
                f"what answers at {where} does not speak Redis's protocol ({redact(str(error))}): check host and port, "
                f"and whether it wants TLS (rediss://)"
            )
        case ResponseError():
            return _refusal(redact(str(error)), where)
        case UnicodeDecodeError():
            return DueqError(
                f"Redis at {where} holds bytes that dueq did not write where it keeps text ({error}): another program "
                f"writes to keys of this namespace, or one is damaged; dueq doctor looks at them"
            )
    return ServerUnavailable(f"Redis at {where}: {redact(str(error))}")


def _doubt(error: RedisError) -> str:
    """What to say of writes: nothing where no connection came about, since nothing was sent then."""
    return "" if _NOT_CONNECTED.match(str(error)) else "; a write that was under way may or may not have happened"


def _refusal(text: str, where: str) -> DueqError:
    """What to say of an answer that is an error."""
    if text.startswith("unknown command"):
        return StrategyUnavailable(
            f"Redis at {where} lacks what the strategy needs: {text}; dueq doctor says which strategies can "
            f"run there, and what to change for the others"
        )
    if "WRONGTYPE" in text:
        return ServerRefused(
            f"Redis at {where} refused: {text}; a key of this namespace is not dueq's: another program uses the same "
            f"name, so take another namespace, or delete that key"
        )
    if _NO_DATABASE.search(text):
        return ServerRefused(
            f"Redis at {where} has no database of that number ({text}): end the address with another, such as /0"
        )
    return ServerRefused(f"Redis at {where} refused: {text}; dueq doctor tries what dueq needs of it")


def is_of_cluster(error: BaseException) -> bool:
    """Whether this is what only a node of a Redis Cluster says: MOVED, ASK, CLUSTERDOWN, CROSSSLOT, TRYAGAIN."""
    return isinstance(error, _OF_CLUSTER) and not isinstance(error, MasterDownError)


def described(error: BaseException) -> str:
    """What ``error`` says, and what it means where that takes knowing Redis; without credentials."""
    text = redact(str(error)) or type(error).__name__
    if is_of_cluster(error):
        code = getattr(error, "status_code", None) or "an error of a cluster"
        return (
            f"it is a node of a Redis Cluster and answered {code} {text}: dueq does not support Redis Cluster yet; "
            f"give it a Redis that is not in cluster mode (cluster-enabled no), with Sentinel if it is to fail over"
        )
    if any(sign in text for sign in _WANTS_CERTIFICATE):
        return (
            f"{text}: it lets in only who shows a certificate; name yours in the address, "
            f"?ssl_certfile=PATH&ssl_keyfile=PATH"
        )
    if _CUT_SHORT in text:
        return (
            f"{text}: it ended the TLS connection; if it lets in only who shows a certificate, name yours in the "
            f"address, ?ssl_certfile=PATH&ssl_keyfile=PATH"
        )
    return text


class Patience:
    """How long a loop waits after each failure in a row: doubling from ``first`` to ``most`` seconds."""

    def __init__(self, first: float = 0.05, most: float = 1.0) -> None:
        self._first, self._most, self.failures = first, most, 0

    def failed(self) -> float:
        """Note a failure; return how many seconds to wait before the next try."""
        self.failures += 1
        return min(self._most, self._first * 2.0 ** min(self.failures - 1, 16))

    def succeeded(self) -> bool:
        """Note a success; return True if it ended a series of failures."""
        ended, self.failures = self.failures > 0, 0
        return ended


def server_version(client: redis.Redis) -> tuple[int, ...] | None:
    """The Redis version whose behaviour the server has (Valkey says which it is compatible with).

    None if the user may not ask (INFO is in the ACL category @dangerous).
    """
    try:
        # without a section: Redis 2.4 knows none; with a space, or redis-py parses some 250 fields
        info: Any = client.execute_command("INFO ")  # type: ignore[no-untyped-call]
    except ResponseError:
        return None
    found = re.search(rb"^redis_version:([\d.]+)", info, re.MULTILINE)
    return tuple(int(part) for part in found[1].split(b".")[:3]) if found else (0,)
