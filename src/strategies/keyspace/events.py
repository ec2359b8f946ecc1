"""What a dispatcher of ``keyspace`` hears, and how it makes sure that it hears at all.

Nothing here is needed for a task to be dispatched, only for the others to be woken: so trouble with the events never
stops a dispatcher. It is logged once, and looked into again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import redis
from redis.exceptions import RedisError

from ...core.connection import redact
from ...core.keys import Keys
from ...core.notifications import SETTING, Subscription, add_flags
from ...core.stop import readable

log = logging.getLogger("dueq.dispatcher")

FLAGS = "Kx"

_CHECK_UP_S = 30.0  # at least so often the flags and the connection are looked at
_AGAIN_S = 1.0  # the same while events are missing
_MOST_ECHOES = 10_000  # more are kept only if no events come


class Events:
    """The ``expired`` events of one namespace's alarms, without those that this dispatcher itself has caused."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._subscription = Subscription(client, keys.of("alarm", ""), "expired")
        self._echoes: set[str] = set()
        self._checked_at = float("-inf")
        self._troubled = False
        self.reliable = True
        """Whether the last event that had to come did."""

    def descriptors(self) -> list[int]:
        """Readable when there may be something to ``heard``."""
        return [self._subscription.fileno()] if self._subscription.open else []

    def check_up(self) -> None:
        """If it is time: see that the flags are set and that the connection lives. A lost one is replaced at once."""
        wait = _CHECK_UP_S if self.reliable and self._subscription.open else _AGAIN_S
        if time.monotonic() - self._checked_at < wait:
            return
        self._checked_at = time.monotonic()
        try:
            if self._subscription.open and not self._subscription.answered:
                self._subscription.close()  # dead since the last check-up, though nobody told us
            add_flags(self._client, FLAGS)  # if that is refused, somebody else has set them, or no event will come
            if self._subscription.open:
                self._subscription.ask()
            else:
                self._echoes.clear()
                self._subscription.start()
                self._troubled = False
        except (RedisError, OSError) as error:
            self._lost(error)

    def heard(self) -> bool:
        """Whether an event has come, since the last time, of which this dispatcher does not know yet. Never waits."""
        return self._subscription.open and self._news(0.0)

    def awaited(self, seconds: float, wakeup_fd: int = -1) -> bool:
        """The same when one must come now: wait for it, unless the last did not come either.

        At most ``seconds``, or until ``wakeup_fd`` is readable.
        """
        deadline = time.monotonic() + seconds
        while self._subscription.open and self.reliable:
            left = deadline - time.monotonic()
            if self._news(max(0.0, left), wakeup_fd):
                return True
            if left <= 0:
                self._missed()
            elif wakeup_fd >= 0 and readable([wakeup_fd], 0):
                return False
        return self.heard()

    def expect_echoes(self, tasks: Iterable[bytes]) -> None:
        """This dispatcher has moved these tasks, and the events that will come of it are no news."""
        if len(self._echoes) > _MOST_ECHOES:
            self._echoes.clear()
        self._echoes.update(task.decode() for task in tasks)

    def close(self) -> None:
        """Hang up; ``check_up`` subscribes again."""
        self._subscription.close()
        self._checked_at = float("-inf")

    def _news(self, seconds: float, wakeup_fd: int = -1) -> bool:
        try:
            tasks = self._subscription.wait(seconds, wakeup_fd)
        except (RedisError, OSError) as error:
            self._lost(error)
            return False
        if tasks and not self.reliable:
            log.info("keyspace events come again")
            self.reliable = True
        news = False
        for task in tasks:
            if task in self._echoes:
                self._echoes.remove(task)
            else:
                news = True
        return news

    def _missed(self) -> None:
        log.warning("no event comes of keys that expire: was %s changed? Tasks are found by their index", SETTING)
        self.reliable = False
        self._checked_at = float("-inf")

    def _lost(self, error: Exception) -> None:
        if not self._troubled:
            log.warning("no keyspace events for now: %s", redact(str(error)))
        self._troubled = True
        self._subscription.close()
