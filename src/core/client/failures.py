"""What an error of Redis means, for loops that try again, and for people."""

from __future__ import annotations

import re

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
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

from ..errors import (
    DueqError,
    NamespaceDamaged,
    ServerRefused,
    ServerUnavailable,
    StrategyUnavailable,
    StrategyYields,
)
from .partly import is_doubtful
from .redaction import redact

_NOT_CONNECTED = re.compile(r"Error -?\d+ connecting to ")  # as redis-py says it
_NO_DATABASE = re.compile(r"invalid DB index|DB index is out of range", re.IGNORECASE)
_OF_CLUSTER = (AskError, ClusterDownError, ClusterCrossSlotError, TryAgainError)  # MOVED is an AskError, too
_BEFORE_ALL = (ReadOnlyError, OutOfMemoryError, BusyLoadingError, MasterDownError, AuthenticationError)
_STOPPED_WRITES = ("MISCONF", "NOREPLICAS")
_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "peer did not return a certificate")
_CUT_SHORT = "EOF occurred in violation of protocol"  # of TLS; a server's reason may be lost when it hangs up at once
TRANSIENT = (ConnectionError, TimeoutError, ResponseError, OSError, StrategyYields, NamespaceDamaged)
"""Errors that a long-lived loop survives by waiting and trying again. The supervisor deals with a namespace that
yields, or is damaged."""


class explained:  # used like a function; contextlib's would cost a producer more than its task's JSON
    """Turn redis-py's errors, and replies that are not dueq's text, into DueqErrors that name the server and the next
    step: no other errors leave the Python API."""

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

    Redis checks once, before the first write, whether it takes writes. A later refusal (a permission, a key of another
    type) does not undo the writes before it.
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
                f"the server at {where} does not speak Redis's protocol ({redact(str(error))}): check host and port, "
                f"and whether it wants TLS (rediss://)"
            )
        case ResponseError():
            return _refusal(redact(str(error)), where)
        case UnicodeDecodeError():
            return DueqError(
                f"Redis at {where} holds bytes that dueq did not write in place of text ({error}): another program "
                f"writes to keys of this namespace, or a key is damaged; dueq doctor looks for damage"
            )
    return ServerUnavailable(f"Redis at {where}: {redact(str(error))}")


def _doubt(error: RedisError) -> str:
    """The note that a write may be in doubt; empty if no connection was made, since then nothing was sent."""
    return "" if _NOT_CONNECTED.match(str(error)) else "; a write that was under way may or may not have happened"


def _refusal(text: str, where: str) -> DueqError:
    """The error of dueq for a reply that is an error."""
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
    """Whether only a node of a Redis Cluster gives this error: MOVED, ASK, CLUSTERDOWN, CROSSSLOT, TRYAGAIN."""
    return isinstance(error, _OF_CLUSTER) and not isinstance(error, MasterDownError)


def described(error: BaseException) -> str:
    """The text of ``error``, with an explanation where it takes experience with Redis; without credentials."""
    text = redact(str(error)) or type(error).__name__
    if is_of_cluster(error):
        code = getattr(error, "status_code", None) or "an error of a cluster"
        return (
            f"it is a node of a Redis Cluster and answered {code} {text}: dueq does not support Redis Cluster yet; "
            f"give it a Redis that is not in cluster mode (cluster-enabled no), with Sentinel if it is to fail over"
        )
    if any(sign in text for sign in _WANTS_CERTIFICATE):
        return (
            f"{text}: it accepts only clients with a certificate; name yours in the address, "
            f"?ssl_certfile=PATH&ssl_keyfile=PATH"
        )
    if _CUT_SHORT in text:
        return (
            f"{text}: it ended the TLS connection; if it accepts only clients with a certificate, name yours in the "
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
