"""A copy of a namespace, to be put back later, as if Redis had lost all later writes. Commands of Redis 2.4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .world import World

_READ: dict[bytes, Callable[[Any, bytes], Any]] = {
    b"string": lambda redis, key: redis.get(key),
    b"list": lambda redis, key: redis.lrange(key, 0, -1),
    b"set": lambda redis, key: redis.smembers(key),
    b"zset": lambda redis, key: redis.zrange(key, 0, -1, withscores=True),
    b"hash": lambda redis, key: redis.hgetall(key),
}
_WRITE: dict[bytes, Callable[[Any, bytes, Any], Any]] = {
    b"string": lambda redis, key, value: redis.set(key, value),
    b"list": lambda redis, key, value: redis.rpush(key, *value),
    b"set": lambda redis, key, value: redis.sadd(key, *value),
    b"zset": lambda redis, key, value: redis.zadd(key, dict(value)),
    b"hash": lambda redis, key, value: [redis.hset(key, *field) for field in value.items()],
}

Copy = dict[bytes, tuple[bytes, Any]]


def copied(world: World) -> Copy:
    """Every key of the namespace, with its type and value."""
    redis: Any = world.redis
    kinds = {key: redis.type(key) for key in world.found()}
    return {key: (kind, _READ[kind](redis, key)) for key, kind in kinds.items()}


def put_back(world: World, copy: Copy) -> None:
    """Make the namespace what it was when it was copied."""
    redis: Any = world.redis
    if keys := world.found():
        redis.delete(*keys)
    for key, (kind, value) in copy.items():
        _WRITE[kind](redis, key, value)
