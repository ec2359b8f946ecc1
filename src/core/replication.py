"""Waiting until replicas have what was written: what a failover must not lose."""

from __future__ import annotations

from typing import Any

import redis

from .errors import NotReplicated
from .keys import Keys


def confirm(client: redis.Redis, keys: Keys, replicas: int, within: float) -> None:
    """Return once ``replicas`` replicas have all that was written before. Needs Redis 3.0 (WAIT).

    Raises NotReplicated if they do not confirm ``within`` so many seconds, and redis-py's errors.
    """
    pipe: Any = client.pipeline(transaction=False)
    # WAIT is about the writes of its own connection, and ours may have gone over others of the pool. There is one
    # stream of writes to a replica, so whoever has this one has all before it.
    pipe.incrby(keys.plain("token"), 0)
    pipe.wait(replicas, max(1, round(within * 1000)))
    _, confirmed = pipe.execute()
    if confirmed < replicas:
        raise NotReplicated(
            f"{confirmed} of {replicas} replicas confirmed within {within:g} s: the tasks are scheduled, but a "
            f"failover now might lose them; scheduling them again under the same ids asks again"
        )
