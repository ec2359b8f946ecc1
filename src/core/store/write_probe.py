"""Whether a server takes writes now: a server that is full, read-only or cannot save to disk still answers reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from ..client.failures import is_of_cluster
from ..schema.keys import Keys

_ADVICE = {
    "OOM": "it has reached its maxmemory: delete what is not needed or raise it (CONFIG SET maxmemory); meanwhile "
    "workers can settle the tasks that they have in hand",
    "READONLY": "a replica takes no writes: use the primary's address (with Sentinel: redis+sentinel://)",
    "MISCONF": "it cannot save to its disk and takes no writes until it can: see its log, make room there, or let it "
    "write to its directory",
    "NOREPLICAS": "fewer replicas follow it than it is to have (min-replicas-to-write): bring them back, or lower that",
}
_OTHER = "see what it says, and its log"


class Refusal(NamedTuple):
    """What a server says to writes, and what to do."""

    said: str
    advice: str


def refusal(client: redis.Redis, keys: Keys) -> Refusal | None:
    """Why writes to the namespace of ``keys`` are refused; None if they are taken. One command that changes nothing.

    Raises NoPermissionError or ResponseError if the user may not send that command, or if the server does not know it,
    and redis-py's errors of the connection.
    """
    untyped: Any = client
    try:
        untyped.execute_command("LPUSHX", keys.plain("probe"), "")  # there is no such list, so nothing is pushed
    except (AuthenticationError, NoPermissionError):
        raise
    except ResponseError as error:
        if is_of_cluster(error) or str(error).lower().startswith("unknown command"):
            raise
        code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
        return Refusal(f"{'' if str(error).startswith(code) else f'{code} '}{error}", _ADVICE.get(code, _OTHER))
    return None
