"""The channel of the store without scripts: nothing is sent ahead there."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import redis

from ...client.listener import Listener, woken
from ..base import Channel, Store, Watch, Woken
from ..values import Advance, Step


class PromptChannel(Channel):
    """Does each step as soon as it is sent."""

    ahead = 0

    def __init__(self, store: Store, client: redis.Redis, keys: Sequence[str], wakeup_fd: int) -> None:
        self._store, self._steps = store, deque[Advance]()
        self._listener = Listener(client, keys, wakeup_fd=wakeup_fd)

    @property
    def waiting(self) -> int:
        return len(self._steps)

    def send(self, step: Step) -> None:
        self._steps.append(self._store.advance(step))

    def sleep(self, step: Step, seconds: float, watch: Watch | None = None) -> Woken:
        if not woken(self._listener, seconds):
            return "quiet"
        self.send(step)
        return "sent"

    def receive(self) -> Advance:
        return self._steps.popleft()

    def close(self) -> None:
        self._steps.clear()
        self._listener.close()
