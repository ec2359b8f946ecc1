"""The events that a dispatcher of ``keyspace`` receives, and the checks that events come at all.

Events only wake dispatchers: no task needs them in order to be dispatched. So trouble with the events never stops a
dispatcher: it logs the trouble once, and tries again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import redis
from redis.exceptions import RedisError

from ...core.client.failures import Patience, described
from ...core.client.keyspace_events import SETTING, Subscription, add_flags
from ...core.client.protocol import LENIENT
from ...core.client.redaction import redact
from ...core.process.stop import readable
from ...core.schema.keys import Keys

log = logging.getLogger("dueq.dispatcher")

FLAGS = "Kx"

_CHECK_UP_S = 30.0  # how often the flags and the connection are checked
_AGAIN_S = 1.0  # the first pause after a failed check; it doubles up to _CHECK_UP_S
_MOST_ECHOES = 10_000  # there are more only if no events come


class Events:
    """The ``expired`` events of one namespace's alarms, without those that this dispatcher itself caused (echoes)."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._subscription = Subscription(client, keys.of("alarm", ""), "expired")
        self._echoes: set[str] = set()
        self._patience = Patience(_AGAIN_S, _CHECK_UP_S)
        self._checked_at = float("-inf")
        self._troubled = False
        self.check_up_at = float("-inf")
        """When the next ``check_up`` is due (monotonic seconds)."""
        self.reliable = True
        """Whether the last event that had to come did come."""

    def descriptors(self) -> list[int]:
        """Descriptors that are readable when there may be something for ``received``."""
        return [self._subscription.fileno()] if self._subscription.open else []

    def check_up(self) -> None:
        """If a check is due: set missing flags, check the connection, and replace a lost one."""
        now = time.monotonic()
        if now < self.check_up_at:
            return
        self._checked_at = now
        try:
            self._note(add_flags(self._client, FLAGS))
            self._see_to_connection()
            self.check_up_at = now + (_CHECK_UP_S if self.reliable else self._patience.failed())
        except (RedisError, OSError) as error:
            self._lost(error)
            self.check_up_at = now + self._patience.failed()

    def received(self) -> bool:
        """Whether an event that is no echo has come since the last call. Never waits."""
        return self._subscription.open and self._news(0.0)

    def awaited(self, seconds: float, wakeup_fd: int = -1) -> bool:
        """Like ``received``, but waits for the event, unless the last awaited event did not come either.

        It waits at most ``seconds``, or until ``wakeup_fd`` is readable.
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
        return self.received()

    def expect_echoes(self, tasks: Iterable[bytes]) -> None:
        """Ignore the coming events of these tasks, since this dispatcher itself has moved them."""
        if len(self._echoes) > _MOST_ECHOES:
            self._echoes.clear()
        self._echoes.update(task.decode(errors=LENIENT) for task in tasks)

    def close(self) -> None:
        """Close the connection; the next ``check_up`` subscribes again."""
        self._subscription.close()
        self.check_up_at = float("-inf")

    def _see_to_connection(self) -> None:
        if self._subscription.open and not self._subscription.confirmed:
            self._subscription.close()  # no reply since the last check-up: it is dead, though it was not closed
        if self._subscription.open:
            self._subscription.probe()
        else:
            self._echoes.clear()
            self._subscription.start()

    def _news(self, seconds: float, wakeup_fd: int = -1) -> bool:
        try:
            tasks = self._subscription.wait(seconds, wakeup_fd)
        except (RedisError, OSError) as error:
            self._lost(error)
            return False
        if tasks:
            self.reliable, self._troubled = True, False
            self._patience.succeeded()
        news = False
        for task in tasks:
            if task in self._echoes:
                self._echoes.remove(task)
            else:
                news = True
        return news

    def _missed(self) -> None:
        self.reliable = False
        self._check_up_soon()

    def _note(self, added: str | None) -> None:
        if added:
            log.info("%s lacked the flags %s: dueq has added them", SETTING, added)
        elif added is None and not self.reliable:
            self._complain(f"expired keys send no event, and dueq may not change {SETTING}: set it to {FLAGS}")

    def _lost(self, error: Exception) -> None:
        self._complain(described(error))
        self._subscription.close()
        self._check_up_soon()

    def _check_up_soon(self) -> None:
        self.check_up_at = min(self.check_up_at, self._checked_at + _AGAIN_S)

    def _complain(self, trouble: str) -> None:
        if not self._troubled:
            log.warning("no keyspace events for now, the index alone finds due tasks: %s", redact(trouble))
        self._troubled = True
