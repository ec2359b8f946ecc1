"""Exit codes: what each means, and which error ends with which."""

from __future__ import annotations

import errno
import os
import sys
from enum import IntEnum

from ..core.client.redaction import redact
from ..core.errors import (
    BootFailure,
    DueqError,
    EmbeddedServerError,
    RestartLimitExceeded,
    ServerRefused,
    ServerUnavailable,
)


class Exit(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    NO = 1
    USAGE = 2
    REDIS = 3
    GAVE_UP = 4
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done",
    Exit.NO: "the answer is no (too late to cancel, no such task, report not clean, ...)",
    Exit.USAGE: "wrong usage or configuration",
    Exit.REDIS: "Redis cannot be reached, or refuses",
    Exit.GAVE_UP: "gave up (too many restarts, or a process that cannot begin its work)",
    Exit.INTERRUPTED: "interrupted",
}

_KINDS: list[tuple[type[DueqError], Exit]] = [
    (ServerUnavailable, Exit.REDIS),
    (ServerRefused, Exit.REDIS),
    (EmbeddedServerError, Exit.REDIS),
    (BootFailure, Exit.GAVE_UP),
    (RestartLimitExceeded, Exit.GAVE_UP),
]


def is_expected(error: Exception) -> bool:
    """Whether the error is dueq's or Redis's: such an error ends a command with one line and an exit code."""
    return isinstance(error, DueqError) or _is_of_redis(error)


def _is_of_redis(error: Exception) -> bool:
    redis = sys.modules.get("redis")  # if no command imported redis, the error is not one of its errors
    return redis is not None and isinstance(error, redis.RedisError)


def exit_code(error: Exception) -> Exit:
    """The exit code for an error, by its kind. An error that is not about Redis or restarts is one of usage."""
    if _is_of_redis(error):
        return Exit.REDIS
    return next((code for kind, code in _KINDS if isinstance(error, kind)), Exit.USAGE)


def complaint(error: Exception) -> str:
    """What to tell the user, without credentials."""
    said = redact(str(error)) or type(error).__name__
    return f"Redis: {said}" if _is_of_redis(error) else said


def refusal_of_the_system(error: OSError) -> str:
    """What to tell the user when the operating system refuses something: a missing file, a full disk, no permission."""
    said = error.strerror or str(error)
    where = "" if error.filename is None else f": {error.filename}"
    if said == os.strerror(errno.ENOENT) and not where:
        where = "; if the working directory was deleted, change to one that exists"
    return redact(f"the system refuses: {said}{where}")


def epilog() -> str:
    """The exit codes, for the foot of ``dueq --help``; ``\\b`` keeps its lines apart."""
    return "\n".join(("\b", "Exit codes:", *(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())))
