"""The channel of the scripted store, and how a worker's step is put into words for ``advance.lua``."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.exceptions import ConnectionError, NoScriptError

from ...client.counting import BLOCKING_S
from ...client.listener import OVERDUE_S, Listener, woken
from ...client.protocol import LENIENT
from ...client.wire import Wire
from ...process.stop import readable
from ...schema.record import readable_record
from ...schema.script import Script, Value
from ..base import Channel, Woken
from ..crowds import Crowds, named
from ..names import KnownNames
from ..tokens import SeenTokens
from ..values import Advance, Aside, Step

_NOTHING_TO_SETTLE: tuple[Value, ...] = ("", "", "", "")


class ScriptedChannel(Channel):
    """One script a step, over a connection of its own, sent at once.

    To sleep, the channel sends a wait for a wake-up (BLPOP) and, on the same connection, a step that takes tasks. Redis
    does that step as soon as the wake-up is there: a task that becomes ready is leased in the same moment, and the
    worker wakes with the task in hand, without another round trip.
    """

    ahead = 16

    def __init__(
        self,
        client: redis.Redis,
        script: Script,
        seen: SeenTokens,
        names: KnownNames,
        crowds: Crowds,
        keys: Sequence[str],
        wakeup_fd: int,
        publish_names: Callable[[], None],
    ) -> None:
        """``publish_names`` is called if the step did not find them."""
        self._wire, self._script, self._seen, self._keys = Wire(client), script, seen, keys
        self._names, self._crowds, self._publish_names = names, crowds, publish_names
        self._wakeup = (wakeup_fd,) if wakeup_fd >= 0 else ()
        self._listener = Listener(client, keys, wakeup_fd=wakeup_fd)
        self._woken_first = False  # the first reply is that of BLPOP
        self._sent: deque[tuple[tuple[Value, ...], Step]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._sent)

    def send(self, step: Step) -> None:
        if step.want > 0:
            self._crowds.keep(step.queues)
        self._send_step(step)

    def sleep(self, step: Step, seconds: float) -> Woken:
        if self._crowds.keep(step.queues, trusted_s=0.0):
            return "quiet"  # nobody was woken for what is ready by now
        if not self._script.goes_by_servers_clock:  # a time that goes with the step would be past when it is done
            if not woken(self._listener, seconds):
                return "quiet"
            self.send(step)
            return "sent"
        patience = max(1, min(BLOCKING_S, math.ceil(seconds)))
        self._send_step(step, after=patience)
        if self._wire.readable(patience + OVERDUE_S, *self._wakeup):
            return "sent"
        late = not (self._wakeup and readable([*self._wakeup], 0))
        self.close()
        if late:
            raise ConnectionError("Redis has not answered in time: the connection is dead")
        return "unknown"

    def _arguments(self, step: Step) -> tuple[Value, ...]:
        return step_arguments(step, self._seen.highest, self._names)

    def _send_step(self, step: Step, after: int = 0) -> None:
        """Send a step; with ``after``, it is done once a wake-up has come, or after ``after`` seconds."""
        arguments = self._arguments(step)
        try:
            if not (self._sent or self._wire.is_fresh):
                self._wire.close()  # closed by the other side while a task ran: no reason to fail
                self._script.load(self._wire)
            if after:
                self._wire.send("BLPOP", *self._keys, after)
                self._woken_first = True
            self._script.send(self._wire, arguments)
        except BaseException:
            self.close()
            raise
        self._sent.append((arguments, step))

    def receive(self) -> Advance:
        arguments, step = self._sent.popleft()
        try:
            if self._woken_first:
                self._woken_first = False
                self._wire.receive()
            reply = self._script.receive(self._wire)
        except NoScriptError:
            if self._sent:
                self.close()  # some of the steps behind it may have been done: the order is lost
                raise
            reply = self._script(*arguments)
        except BaseException:
            self.close()
            raise
        if misses_names(reply):
            self._publish_names()
        return advanced(reply, step, self._seen)

    def close(self) -> None:
        self._sent.clear()
        self._woken_first = False
        self._wire.close()
        self._listener.close()


def step_arguments(step: Step, highest: int, names: KnownNames) -> tuple[Value, ...]:
    """The arguments of ``advance.lua``; ``highest`` is the highest token that this process has seen."""
    worker, queues, lease_us, want, outcome, start, acks, start_all = step
    settle = _NOTHING_TO_SETTLE
    if outcome is not None:
        after = outcome.due_us or f"+{outcome.delay_us}"
        argument: Value = after if outcome.runs_on else outcome.reason
        settle = ("ack" if outcome.is_over else outcome.kind, outcome.claim.id, outcome.claim.token, argument)
    begin: tuple[Value, ...] = ("", "") if start is None else (start.id, start.token)
    ended = [value for claim in acks for value in (claim.id, claim.token)]
    every = "1" if start_all else ""
    return (worker, lease_us, want, *settle, *begin, highest, names.field, every, len(acks), *ended, *named(queues))


def advanced(reply: list[Any], step: Step, seen: SeenTokens) -> Advance:
    """What ``advance.lua`` replied to ``step``; the ``start`` of ``step`` is the claim in its started form."""
    now, settled, dropped, start, holding, forgot, acked, *claims = reply
    found = [readable_record(task_id.decode(errors=LENIENT), raw) for task_id, raw in claims]
    started = step.start if start else None
    if start and started is None:
        started = found.pop(0)
    records = [record for record in found if record is not None]
    seen.saw([started, *records] if started is not None else records)
    queues = [item.decode(errors=LENIENT) for item in dropped if isinstance(item, bytes)]
    aside = [
        Aside(*(part.decode("utf-8", "surrogateescape") for part in item)) for item in dropped if isinstance(item, list)
    ]
    ends: list[Any] = [how.decode(errors=LENIENT) for how in acked] or ["done"] * len(step.acks)
    return Advance(
        int(now), settled.decode(errors=LENIENT), queues, started, records, holding, bool(forgot), aside, ends
    )


def misses_names(reply: list[Any]) -> bool:
    """Whether ``advance.lua`` took nothing, since Redis does not have the names that the worker knows (any more)."""
    return 0 in reply[2]
