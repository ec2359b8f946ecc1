"""A strategy as a third party would write it: one zset for all queues, with members "queue:id"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from dueq.core.clock import Clock
from dueq.strategies.base import Census, Dispatched, Entry, Keys, Moved, Needs, ScriptedStrategy, zset_pages

_TIMERS = """
local function single() return P .. 'single' end
local function single_count() return P .. 'single:count' end

local function timer_add(queue, id, due)
  local added = redis.call('ZADD', single(), string.format('%.0f', due), queue .. ':' .. id)
  redis.call('HINCRBY', single_count(), queue, added)
  return redis.call('ZRANGE', single(), 0, 0)[1] == queue .. ':' .. id
end

local function timer_remove(queue, id, due)
  local removed = redis.call('ZREM', single(), queue .. ':' .. id)
  if redis.call('HINCRBY', single_count(), queue, -removed) <= 0 then redis.call('HDEL', single_count(), queue) end
  return removed == 1
end
"""

_DISPATCH = """
local refusal = refused(true)
if refusal then return refusal end
local reply = { -1, now }
local due = redis.call('ZRANGEBYSCORE', single(), '-inf', whole(now), 'WITHSCORES', 'LIMIT', 0, math.min(ARGV[2], 1000))
for at = 1, #due, 2 do
  local queue, id = string.match(due[at], '^([^:]*):(.*)$')
  timer_remove(queue, id, due[at + 1])
  redis.call('LPUSH', key_ready(queue), id)
  ring_workers(queue, 1)
  reply[#reply + 1] = queue
  reply[#reply + 1] = now - tonumber(due[at + 1])
  reply[#reply + 1] = id
end
local head = redis.call('ZRANGE', single(), 0, 0, 'WITHSCORES')
if head[2] then reply[1] = math.max(0, tonumber(head[2]) - now) end
return reply
"""


class SingleZset(ScriptedStrategy):
    """A backlog of one queue holds up all others: its weakness."""

    name = "single"
    summary = "one zset for all queues"
    needs = Needs(version=(2, 6), scripts=True)

    @classmethod
    def timers(cls) -> str:
        return _TIMERS

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock | None = None) -> None:
        super().__init__(client, keys, owner, clock)
        self._dispatch = self.scripts.make(_DISPATCH)
        self._single, self._count = f"{keys.prefix}single", f"{keys.prefix}single:count"

    def dispatch(self, limit: int) -> Dispatched:
        next_us, now_us, *rows = self._dispatch(limit)
        moved = [Moved(rows[at].decode(), rows[at + 1] / 1e6, rows[at + 2].decode()) for at in range(0, len(rows), 3)]
        return Dispatched(moved, None if next_us < 0 else next_us / 1e6, now_us=now_us)

    def census(self, queues: Sequence[str]) -> list[Census]:
        client: Any = self.client
        found = []
        for queue in queues:
            first = client.zrange(self._single, 0, 99, withscores=True)
            due = [int(score) for member, score in first if member.startswith(f"{queue}:".encode())]
            found.append(Census(int(client.hget(self._count, queue) or 0), min(due, default=None)))
        return found

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        return [entry for entry in entries if self.client.zscore(self._single, f"{entry.queue}:{entry.id}") is None]

    def pages(self, queue: str) -> Iterator[list[str]]:
        for page in zset_pages(self.client, self._single):
            yield [id_ for name, _, id_ in (member.partition(":") for member in page) if name == queue]

    def clear(self, queues: Sequence[str]) -> None:
        self.client.delete(self._single, self._count)
