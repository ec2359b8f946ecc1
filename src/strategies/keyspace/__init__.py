"""``keyspace``: a key per task that expires when the task is due; the ``expired`` event starts a race of dispatchers.

Events alone promise nothing: Redis does not store them. Three things make up for that. Beside the keys there is a zset
with every due time. It is the truth: dispatchers move what is due there whatever the events say, at least once every
safety net. Redis expires a key only when it gets to it, so a dispatcher that knows a due time sleeps until then and
reads the keys that are due (it pokes them): they expire at once, and the event goes to every dispatcher. The winner of
the race is the dispatcher that moves the task out of the zset, by script, in one step; the others find nothing.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import redis

from ...core.client.protocol import LENIENT
from ...core.clock import US, Clock, ServerClock
from ...core.process.stop import readable
from ...core.schema.keys import Keys
from ...core.schema.scripts import lua
from ...core.store.strategy import Dispatched, Needs, WakeReason
from ..zset_index import ScriptedTimers
from .events import FLAGS, Events

_POKED = 100  # keys looked at in one step
_EXPIRY_S = 0.001  # a key expires up to this much after its due time, in the next whole millisecond
_EVENT_S = 0.01  # how long the event of a poked key is waited for
_CLOSE_S = 0.005  # a sleep that ends this close to a due time is a sleep until that due time
_PAGE = 250  # tasks removed in one step


class KeyspaceStrategy(ScriptedTimers):
    """Every dispatcher receives every event. One that is woken and finds nothing has lost a race: a conflict."""

    name = "keyspace"
    summary = "expiring keys and their events, an index for what they miss; needs notify-keyspace-events"
    needs = Needs(
        version=(2, 8),
        scripts=True,
        notifications=FLAGS,
        events="alarm",
        commands=("DBSIZE", "PEXPIREAT", "PSUBSCRIBE"),
    )

    @classmethod
    def timers(cls) -> str:
        return lua(__package__, "keyspace")

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock | None = None) -> None:
        super().__init__(client, keys, owner, clock)
        self._poke = self.scripts.load(__package__, "poke")
        self._events = Events(client, keys)
        self._server_clock = ServerClock()
        self._raced = False  # whether an event ended the last sleep
        self._next_at = math.inf  # monotonic seconds: when the first task known of is due

    def dispatch(self, limit: int) -> Dispatched:
        raced, self._raced = self._raced, False
        self._events.received()  # the step below looks at the tasks of these events
        sent_ns = time.monotonic_ns()
        result, echoes = self.step(limit)
        self._events.expect_echoes(echoes)
        # measured from the request, so that a reply that stalls delays no task
        self._server_clock.observe(result.now_us, sent_ns, time.monotonic_ns())
        if result.next_in is None:
            self._next_at = math.inf
        else:
            left = result.next_in + (result.now_us - self._server_clock.latest_us()) / US
            self._next_at = time.monotonic() + left
        return replace(result, conflicts=int(raced and not result.moved))

    def wait(self, seconds: float, *, wakeup_fd: int = -1) -> WakeReason | None:
        deadline = time.monotonic() + seconds
        self._poke.assemble()  # before the sleep: a task is due when it is called
        try:
            reason = self._sleep(deadline, wakeup_fd)
        except BaseException:
            self.close()
            raise
        self._raced = reason == "event"
        return reason

    def clear_zset(self, queue: str) -> None:
        timer = self.timer(queue)
        while ids := self._first(timer):
            pipe: Any = self.client.pipeline(transaction=False)
            # the alarms first: after a kill in between, the zset still has their ids
            pipe.delete(*(self.keys.of("alarm", f"{queue}:{task}") for task in ids))
            pipe.zrem(timer, *ids)
            pipe.execute()

    def close(self) -> None:
        self._events.close()
        super().close()

    def _sleep(self, deadline: float, wakeup_fd: int) -> WakeReason | None:
        due = self._next_at <= deadline + _CLOSE_S
        until = self._next_at + _EXPIRY_S if due else deadline
        listener = self.listener(wakeup_fd)
        while True:
            self._events.check_up()
            pause = min(until, self._events.check_up_at) - time.monotonic()
            woken = listener.wait(max(0.0, pause), *self._events.descriptors())
            if self._events.received():
                return "event"
            if woken:
                return "earlier"
            if time.monotonic() >= until:
                return "event" if due and self._poked(wakeup_fd) else None
            if wakeup_fd >= 0 and readable([wakeup_fd], 0):
                return None
            # else it was an event of another kind, an echo, the end of the connection, or time for a check-up

    def _first(self, timer: str) -> list[str]:
        ids: Any = self.client.zrange(timer, 0, _PAGE - 1)
        return [task.decode(errors=LENIENT) for task in ids]

    def _poked(self, wakeup_fd: int) -> bool:
        """Make the due keys expire. True if an event has come, whichever process caused it."""
        self._next_at = math.inf
        if self._poke(_POKED):
            return self._events.awaited(_EVENT_S, wakeup_fd)
        return self._events.received()
