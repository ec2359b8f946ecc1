"""The floor under every lateness: how long after a push a blocked client in another process is awake.

No task that waits in Redis for an idle worker can start sooner than this after its due time. It depends on the machine
and on its load, so it is measured in the same run as the lateness that is compared with it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass

import redis

from ..core.client.connection import connect
from ..core.errors import BootFailure
from ..core.schema.keys import Keys
from .stats import quantile

ROUNDS = 300
_URL, _PREFIX = "DUEQ_FLOOR_URL", "DUEQ_FLOOR_PREFIX"  # passed by the environment: an address may hold a password
_REPLY_S = 10
_SETTLE_S = 0.002  # for the other side to be blocked again


@dataclass(frozen=True, slots=True)
class Floor:
    """Milliseconds from just before the push to just after the blocked client's reply, over ``rounds`` rounds."""

    p50: float
    p99: float
    rounds: int


def measure(redis_url: str, namespace: str, rounds: int = ROUNDS) -> Floor:
    """Measure the wake-up between this process and one that it starts, by the server at ``redis_url``.

    Takes about 3 ms a round. Leaves no key behind. Raises BootFailure if the other process does not answer, and
    redis-py's errors.
    """
    prefix = f"{Keys(namespace).prefix}floor:"
    environment = os.environ | {_URL: redis_url, _PREFIX: prefix}
    other = subprocess.Popen([sys.executable, "-m", __name__], env=environment, stdin=subprocess.DEVNULL)
    client = connect(redis_url)
    try:
        _round(client, prefix)  # not counted: both sides connect, and run their code for the first time
        times_ms = sorted(_round(client, prefix) for _ in range(rounds))
    finally:
        other.kill()
        other.wait()
        client.delete(_ping(prefix), _pong(prefix))
        client.connection_pool.disconnect()
    p50, p99 = quantile(times_ms, 0.50), quantile(times_ms, 0.99)
    assert p50 is not None
    assert p99 is not None
    return Floor(round(p50, 3), round(p99, 3), rounds)


def _round(client: redis.Redis, prefix: str) -> float:
    """Milliseconds of one round."""
    # a random part, so that the rounds are not in step with a timer of the server or the kernel
    time.sleep(_SETTLE_S + random.uniform(0, 0.001))
    pushed_ns = time.monotonic_ns()
    client.lpush(_ping(prefix), "1")
    reply = client.blpop([_pong(prefix)], _REPLY_S)
    if reply is None:
        raise BootFailure(f"the other process of the wake-up measurement did not answer within {_REPLY_S} s")
    return (int(reply[1]) - pushed_ns) / 1e6  # the monotonic clock is the same in all processes of a host


def _serve_for_ever(redis_url: str, prefix: str) -> None:
    client = connect(redis_url)
    while True:
        if client.blpop([_ping(prefix)], _REPLY_S) is not None:
            client.lpush(_pong(prefix), time.monotonic_ns())
        elif os.getppid() == 1:
            return  # the parent process was killed


def _ping(prefix: str) -> str:
    return prefix + "ping"


def _pong(prefix: str) -> str:
    return prefix + "pong"


if __name__ == "__main__":
    _serve_for_ever(os.environ[_URL], os.environ[_PREFIX])
