"""``keyspace``: a key per task that expires when the task is due; the ``expired`` event starts a race of dispatchers.

Three things make a promise of what is only a notification. Beside the keys there is a zset with every due time: it is
the truth, and what is due there is moved whatever the events say, at least once every safety net. Redis expires keys
when it gets to them, so a dispatcher sleeps until the first due time and then pokes the keys that are due by then: they
expire at once, and the event goes to every dispatcher. And the winner of the race is whoever moves the task out of the
zset, by script, in one step; the others find nothing.
"""

from __future__ import annotations

import time

import redis

from ...core.clock import Clock
from ...core.keys import Keys
from ...core.notifications import Subscription, add_flags
from ...core.scripts import lua
from ..base import Dispatched, Needs, WakeReason
from ..timers import ScriptedTimers

_FLAGS = "Kx"
_POKED = 100  # keys looked at in one step
_EXPIRY_S = 0.001  # keys expire in whole milliseconds, in the one after their time
_EVENT_S = 0.02  # after this the event of a poked key is not expected any more


class KeyspaceStrategy(ScriptedTimers):
    """Every dispatcher hears every event; each race lost is counted as a conflict."""

    name = "keyspace"
    summary = "expiring keys and their events, an index for what they miss; needs notify-keyspace-events"
    needs = Needs(version=(2, 8), scripts=True, notifications=_FLAGS)

    @classmethod
    def timers(cls) -> str:
        return lua(__package__, "keyspace")

    def __init__(self, client: redis.Redis, keys: Keys, owner: str, clock: Clock | None = None) -> None:
        super().__init__(client, keys, owner, clock)
        self._poke = self.scripts.load(__package__, "poke")
        self._events = Subscription(client, self.keys.of("alarm", "*"), "expired")
        self._woken = False
        self._next_at: float | None = None  # monotonic seconds: when the first task known of is due

    def dispatch(self, limit: int) -> Dispatched:
        self._events.drain()  # whatever they speak of is looked at now
        result = super().dispatch(limit)
        self._next_at = None if result.next_in is None else time.monotonic() + result.next_in
        lost = self._woken and not result.moved
        self._woken = False
        return Dispatched(result.moved, result.next_in, int(lost))

    def wait(self, seconds: float, *, wakeup_fd: int = -1) -> WakeReason | None:
        deadline = time.monotonic() + seconds
        due = self._next_at is not None and self._next_at <= deadline
        if due:
            deadline += _EXPIRY_S
        try:
            if not self._events.open:
                add_flags(self.client, _FLAGS)  # whatever comes of it: the index does not depend on them
                self._events.start()
            bell = self.doorbell(wakeup_fd)
            rung = bell.wait(max(0.0, deadline - time.monotonic()), self._events.fileno())
            if self._events.drain():
                self._woken = True
                return "event"
            if rung:
                return "earlier"
            return self._poked() if due and time.monotonic() >= deadline else None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._events.close()
        super().close()

    def _poked(self) -> WakeReason | None:
        """Make the keys expire that are due, and wait for the event."""
        if not self._poke(_POKED):
            return None
        if self._events.wait(_EVENT_S):
            self._woken = True
            return "event"
        self._events.close()  # the flags may be gone: they are looked at before the next sleep
        return None
