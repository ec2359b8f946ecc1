"""The channels of both stores, and how a worker's step is put into words for ``advance.lua``."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import NoScriptError

from ..codec import Record, decode_record
from ..scripts import Script, Value
from ..wire import Wire
from .base import Advance, Channel, Outcome, Store

_NOTHING_TO_SETTLE: tuple[Value, ...] = ("", "", "", "")


class ScriptedChannel(Channel):
    """One script a step, over a connection of its own, sent at once."""

    ahead = 16

    def __init__(self, client: redis.Redis, script: Script) -> None:
        self._wire, self._script = Wire(client), script
        self._asked: deque[tuple[tuple[Value, ...], Record | None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._asked)

    def ask(
        self,
        worker: str,
        queues: Sequence[str],
        lease_us: int,
        *,
        want: int = 1,
        outcome: Outcome | None = None,
        start: Record | None = None,
    ) -> None:
        arguments = step_arguments(worker, queues, lease_us, want, outcome, start)
        try:
            if not self._wire.is_open:
                self._script.load(self._wire)
            self._script.send(self._wire, arguments)
        except BaseException:
            self.close()
            raise
        self._asked.append((arguments, start))

    def answer(self) -> Advance:
        arguments, start = self._asked.popleft()
        try:
            reply = self._script.receive(self._wire)
        except NoScriptError:
            if self._asked:
                self.close()  # of those behind it, some may have been done: the order is lost
                raise
            reply = self._script(*arguments)
        except BaseException:
            self.close()
            raise
        return advanced(reply, start)

    def close(self) -> None:
        self._asked.clear()
        self._wire.close()


class PromptChannel(Channel):
    """Does each step as soon as it is asked for."""

    ahead = 0

    def __init__(self, store: Store) -> None:
        self._store, self._steps = store, deque[Advance]()

    @property
    def waiting(self) -> int:
        return len(self._steps)

    def ask(
        self,
        worker: str,
        queues: Sequence[str],
        lease_us: int,
        *,
        want: int = 1,
        outcome: Outcome | None = None,
        start: Record | None = None,
    ) -> None:
        self._steps.append(self._store.advance(worker, queues, lease_us, want=want, outcome=outcome, start=start))

    def answer(self) -> Advance:
        return self._steps.popleft()

    def close(self) -> None:
        self._steps.clear()


def step_arguments(
    worker: str, queues: Sequence[str], lease_us: int, want: int, outcome: Outcome | None, start: Record | None
) -> tuple[Value, ...]:
    """The arguments of ``advance.lua``."""
    settle = _NOTHING_TO_SETTLE
    if outcome is not None:
        argument: Value = outcome.delay_us if outcome.kind == "retry" else outcome.reason
        settle = (outcome.kind, outcome.claim.id, outcome.claim.token, argument)
    if start is None:
        return (worker, lease_us, want, *settle, "", "", *queues)
    return (worker, lease_us, want, *settle, start.id, start.token, *queues)


def advanced(reply: list[Any], started: Record | None) -> Advance:
    """What ``advance.lua`` replied; ``started`` is the held claim that was to be started, as it is if it was."""
    now, settled, dropped, start, holding, *claims = reply
    records = [decode_record(task_id.decode(), raw) for task_id, raw in claims]
    if not start:
        started = None
    elif started is None:
        started = records.pop(0)
    return Advance(int(now), settled.decode(), [queue.decode() for queue in dropped], started, records, holding)
