"""``lua``: a zset per queue, and one script that moves what is due and returns the time until the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from ...core.clock import US
from ...core.keys import Keys
from ...core.scripts import lua
from ..base import Census, Dispatched, Needs, ScriptedStrategy


class LuaStrategy(ScriptedStrategy):
    """Dispatchers never conflict: Redis runs the script as one step, by its own clock."""

    name = "lua"
    summary = "zset and one script; exact, any number of dispatchers; needs EVAL"
    needs = Needs(version=(2, 6), scripts=True)

    @classmethod
    def timers(cls) -> str:
        return lua(__package__, "timer")

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        super().__init__(client, keys)
        self._dispatch = self.scripts.load(__package__, "dispatch")

    def dispatch(self, limit: int) -> Dispatched:
        next_us, *rows = self._dispatch(limit)
        moved = [(rows[at].decode(), rows[at + 1] / US) for at in range(0, len(rows), 2)]
        return Dispatched(moved, None if next_us < 0 else next_us / US)

    def census(self, queues: Sequence[str]) -> list[Census]:
        pipe: Any = self.client.pipeline(transaction=False)
        for queue in queues:
            key = self.keys.of("timer", queue)
            pipe.zcard(key).zrange(key, 0, 0, withscores=True)
        replies = pipe.execute() if queues else []
        return [
            Census(scheduled, int(head[0][1]) if head else None)
            for scheduled, head in zip(replies[::2], replies[1::2], strict=True)
        ]
