"""Floors: the best that this machine and this Redis allow, measured right before the figures compared with them.

Each floor is measured once, when a suite first needs it: machines drift, so a floor must be of the same minute as the
figures beside it. The keys that it writes are in the bench's own namespace, and are removed.
"""

from __future__ import annotations

import csv
import functools
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import Any

import redis
from redis.connection import parse_url

from ..core.client.connection import connect
from ..core.schema.keys import Keys
from ..harness import floor
from .redis_cost import spent

PAYLOAD = 100
"""About how many bytes the arguments of a task have, and how many a floor writes."""

WAKE_UP, ROUND_TRIPS = "wake-up of a blocked client", "redis-py's round trips"
BARE = "eight bare commands"
_IN_A_TRIP = 50  # tasks

_PROGRAMS = ("redis-benchmark", "valkey-benchmark")
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate of redis-benchmark, None if it could not be run; and the name of this floor."""

    per_second: float | None
    name: str


class Floors:
    """The floors under one suite's figures."""

    def __init__(self, redis_url: str, namespace: str, rounds: int, requests: int) -> None:
        self._url, self._namespace, self._rounds, self._requests = redis_url, namespace, rounds, requests
        self._key = f"{Keys(namespace).prefix}floor:set"
        self.notes: list[str] = []
        """Why a floor is missing."""

    @functools.cached_property
    def wake_up(self) -> floor.Floor:
        """From a push until a blocked client in another process is awake. Raises BootFailure, redis-py's errors."""
        return floor.measure(self._url, self._namespace, self._rounds)

    @functools.cached_property
    def round_trips(self) -> float:
        """SETs of ``PAYLOAD`` bytes a second by redis-py, one after the other. Raises redis-py's errors."""
        client = connect(self._url, plain=True)
        try:
            return _round_trips(client, self._key, self._rounds * 5)
        finally:
            client.delete(self._key)
            client.connection_pool.disconnect()

    @functools.cached_property
    def bare_us(self) -> float:
        """Microseconds of Redis's CPU for a task's life in the fewest commands that can carry it.

        The task is written and indexed, made ready, claimed, settled: two commands each, for many tasks in one trip.
        Raises redis-py's errors.
        """
        client = connect(self._url, plain=True)
        try:
            _bare_lives(client, self._key)
            before = spent(client)
            for _ in range(self._rounds):
                _bare_lives(client, self._key)
            return spent(client).since(before).cpu_us / (self._rounds * _IN_A_TRIP)
        finally:
            client.delete(*_life_keys(self._key))
            client.connection_pool.disconnect()

    def benchmark(self, clients: int, pipeline: int = 1) -> Rate:
        """redis-benchmark's rate of SETs of ``PAYLOAD`` bytes; each client sends ``pipeline`` of them at once."""
        name = f"redis-benchmark, {clients} client{'s' * (clients > 1)}" + (f" × {pipeline}" if pipeline > 1 else "")
        try:
            return Rate(_benchmark(self._url, self._key, clients, pipeline, self._requests), name)
        except _Absent as absent:
            note = f"no floor of redis-benchmark: {absent}"
            if note not in self.notes:
                self.notes.append(note)
            return Rate(None, name)
        finally:
            client = connect(self._url)
            client.delete(self._key)
            client.connection_pool.disconnect()


class _Absent(Exception):
    """redis-benchmark cannot be run; the text says why."""


def _round_trips(client: redis.Redis, key: str, rounds: int) -> float:
    value = b"x" * PAYLOAD
    client.set(key, value)  # not counted: it connects
    began = time.perf_counter()
    for _ in range(rounds):
        client.set(key, value)
    return rounds / (time.perf_counter() - began)


def _life_keys(key: str) -> list[str]:
    return [f"{key}:{name}" for name in ("record", "timer", "ready", "held")]


def _bare_lives(client: redis.Redis, key: str) -> None:
    record, timer, ready, held = _life_keys(key)
    body, names = "x" * PAYLOAD, [f"id{number}" for number in range(_IN_A_TRIP)]
    pipe: Any = client.pipeline(transaction=False)
    for name in names:
        pipe.hset(record, name, body).zadd(timer, {name: 1})
    pipe.execute()
    for name in names:
        pipe.zrem(timer, name).lpush(ready, name)
    pipe.execute()
    for name in names:
        pipe.rpoplpush(ready, held).hset(record, name, body)
    pipe.execute()
    for name in names:
        pipe.lrem(held, -1, name).hdel(record, name)
    pipe.execute()


def _benchmark(redis_url: str, key: str, clients: int, pipeline: int, requests: int) -> float:
    """Requests a second. Raises _Absent."""
    program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise _Absent(f"there is no {' or '.join(_PROGRAMS)} on the PATH")
    # not a built-in test of redis-benchmark, which would write to keys that another user may have
    command = [program, *_where(redis_url), "--csv", "-n", str(requests), "-c", str(clients), "-P", str(pipeline)]
    command += ["SET", key, "x" * PAYLOAD]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Absent(f"{program}: {error}") from None
    try:
        return float([row for row in csv.reader(done.stdout.splitlines()) if row][-1][1])
    except (IndexError, ValueError):
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
        raise _Absent(f"{program} ended with status {done.returncode} and said {said[0][:200]!r}") from None


def _where(redis_url: str) -> list[str]:
    """The arguments that name the server. Raises _Absent if redis-benchmark cannot use it, or would show a password."""
    if not redis_url.startswith(("redis://", "unix://")):
        raise _Absent(f"it cannot use {redis_url.partition('://')[0]}:// addresses")
    options: dict[str, Any] = dict(parse_url(redis_url))  # type: ignore[no-untyped-call]
    if options.get("password") or options.get("username"):
        raise _Absent("it takes a password as an argument only, which others on this host could see")
    database = ["--dbnum", str(options.get("db", 0))]
    if "path" in options:
        return ["-s", str(options["path"]), *database]
    return ["-h", str(options.get("host", "localhost")), "-p", str(options.get("port", 6379)), *database]
