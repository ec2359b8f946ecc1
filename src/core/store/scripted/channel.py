"""The channel of the scripted store, and how a worker's step is put into words for ``advance.lua``."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import redis
from redis.exceptions import ConnectionError, NoScriptError, ResponseError

from ...client.counting import BLOCKING_S
from ...client.direct import ends_with_link
from ...client.listener import OVERDUE_S, Listener, woken
from ...client.protocol import LENIENT
from ...client.wire import Wire
from ...process.stop import readable
from ...schema.record import readable_record
from ...schema.script import Script, Value
from ..base import Channel, Watch, Woken
from ..crowds import Crowd, Crowds, named
from ..names import KnownNames
from ..tokens import SeenTokens
from ..values import Advance, Aside, Step
from .lookout import Lookout

_LONG_S = 900  # that a worker sleeps while others or itself see that all is quiet
_BRIEF_S = 300.0  # after something was amiss with a long sleep, for so long each sleep is a short one
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
        lookout: Lookout,
    ) -> None:
        """``publish_names`` is called if the step did not find them."""
        self._wire, self._script, self._seen, self._keys = Wire(client), script, seen, keys
        self._names, self._crowds, self._publish_names, self._lookout = names, crowds, publish_names, lookout
        self._wakeup = (wakeup_fd,) if wakeup_fd >= 0 else ()
        self._listener = Listener(client, keys, wakeup_fd=wakeup_fd)
        self._woken_first = False  # the first reply is that of BLPOP
        self._ends_with_link: bool | None = None  # whether the wire does; None: not known yet
        self._brief_until = 0.0
        self._left_behind = ""  # the worker whose long sleep may not be over in Redis
        self._sent: deque[tuple[tuple[Value, ...], Step]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._sent)

    def send(self, step: Step) -> None:
        if step.want > 0:
            self._crowds.keep(step.queues)
        self._send_step(step)

    def sleep(self, step: Step, seconds: float, watch: Watch | None = None) -> Woken:
        if self._crowds.keep(step.queues, trusted_s=0.0):
            return "quiet"  # nobody was woken for what is ready by now
        if not self._script.goes_by_servers_clock:  # a time that goes with the step would be past when it is done
            if not woken(self._listener, seconds):
                return "quiet"
            self.send(step)
            return "sent"
        try:
            self._open()
            if watch is not None and self._may_sleep_long(step):
                return self._sleep_long(step, watch)
            patience = max(1, min(BLOCKING_S, math.ceil(seconds)))
            self._send_step(step, after=patience)
            return self._asleep(patience + OVERDUE_S) or self._dead()
        except BaseException:
            self.close()
            raise

    def _may_sleep_long(self, step: Step) -> bool:
        """Whether no reply is needed each half a minute: the kernel notices that the link is dead, and no set of queues
        is kept alive by the looks of its workers."""
        if isinstance(step.queues, Crowd) or time.monotonic() < self._brief_until:
            return False
        if self._ends_with_link is None:
            self._ends_with_link = ends_with_link(self._wire)
        return self._ends_with_link

    def _sleep_long(self, step: Step, watch: Watch) -> Woken:
        """Sleep until a wake-up comes, or until this worker has to look by itself."""
        self._left_behind = step.worker
        watch.begin()
        try:
            self._send_step(step, after=_LONG_S, watch=watch)
            return self._watched_over(step, watch)
        finally:
            watch.end()

    def _watched_over(self, step: Step, watch: Watch) -> Woken:
        over = time.monotonic() + _LONG_S + OVERDUE_S
        while (left := over - time.monotonic()) > 0:
            if how := self._asleep(min(left, watch.rest())):
                return how
            if not watch.kept(lambda workers: self._lookout.look(step, workers)):
                self._brief_until = time.monotonic() + _BRIEF_S
                return self._woken_by_itself(step.worker)
        return self._dead()

    def _woken_by_itself(self, worker: str) -> Woken:
        self._lookout.wake(worker)
        return self._asleep(OVERDUE_S) or self._dead()

    def _asleep(self, seconds: float) -> Woken | None:
        """How the sleep has ended after ``seconds`` at most; None if it has not."""
        if self._wire.readable(seconds, *self._wakeup):
            return "sent"
        if not (self._wakeup and readable([*self._wakeup], 0)):
            return None
        self.close()
        return "unknown"

    def _dead(self) -> NoReturn:
        raise ConnectionError("Redis has not answered in time: the connection is dead")

    def _arguments(self, step: Step, supervisor: str = "") -> tuple[Value, ...]:
        return step_arguments(step, self._seen.highest, self._names, supervisor)

    def _send_step(self, step: Step, after: int = 0, watch: Watch | None = None) -> None:
        """Send a step; with ``after``, it is done once a wake-up has come, or after ``after`` seconds.

        With ``watch``, a wake-up for this worker alone will do, too, and the step takes nothing if the watch's
        supervisor has fallen silent.
        """
        arguments = self._arguments(step, watch.supervisor if watch is not None else "")
        try:
            if not after:
                self._open()
            else:  # it is open: what is known of this connection goes for no other
                own = () if watch is None else (self._lookout.bell(step.worker),)
                self._wire.send("BLPOP", *self._keys, *own, after)
                self._woken_first = True
            self._script.send(self._wire, arguments)
        except BaseException:
            self.close()
            raise
        self._sent.append((arguments, step))

    def _open(self) -> None:
        """Open the connection, unless it is."""
        if self._sent or self._wire.is_fresh:
            return
        self._wire.close()  # closed by the other side while a task ran: no reason to fail
        self._ends_with_link = None
        self._script.load(self._wire)
        if self._left_behind:  # if the last connection broke unseen by Redis, the request waits there, and takes tasks
            self._lookout.wake(self._left_behind)
            self._left_behind = ""

    def receive(self) -> Advance:
        arguments, step = self._sent.popleft()
        try:
            if self._woken_first:
                self._receive_wakeup()
            reply = self._received(arguments)
            if is_doubted(reply):  # but this worker is there
                self._brief_until = time.monotonic() + _BRIEF_S
                reply = self._script(*self._arguments(step))
        except BaseException:
            self.close()
            raise
        if misses_names(reply):
            self._publish_names()
        return advanced(reply, step, self._seen)

    def _receive_wakeup(self) -> None:
        self._woken_first = False
        try:
            self._wire.receive()
        except ResponseError:  # a key has another type, maybe that of this worker alone
            self._brief_until = time.monotonic() + _BRIEF_S
            raise
        self._left_behind = ""

    def _received(self, arguments: tuple[Value, ...]) -> list[Any]:
        try:
            reply: list[Any] = self._script.receive(self._wire)
        except NoScriptError:
            if self._sent:
                raise  # some of the steps behind it may have been done: the order is lost
            reply = self._script(*arguments)
        return reply

    def close(self) -> None:
        self._sent.clear()
        self._woken_first = False
        self._wire.close()
        self._listener.close()


def step_arguments(step: Step, highest: int, names: KnownNames, supervisor: str = "") -> tuple[Value, ...]:
    """The arguments of ``advance.lua``; ``highest`` is the highest token that this process has seen. With a
    ``supervisor``, nothing is taken unless that has given a sign of life lately."""
    worker, queues, lease_us, want, outcome, start, acks, start_all = step
    settle = _NOTHING_TO_SETTLE
    if outcome is not None:
        after = outcome.due_us or f"+{outcome.delay_us}"
        argument: Value = after if outcome.runs_on else outcome.reason
        settle = ("ack" if outcome.is_over else outcome.kind, outcome.claim.id, outcome.claim.token, argument)
    begin: tuple[Value, ...] = ("", "") if start is None else (start.id, start.token)
    ended = [value for claim in acks for value in (claim.id, claim.token)]
    every = "1" if start_all else ""
    head = (worker, lease_us, want, *settle, *begin, highest, names.field, every, supervisor)
    return (*head, len(acks), *ended, *named(queues))


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


def is_doubted(reply: list[Any]) -> bool:
    """Whether ``advance.lua`` took nothing, since the supervisor has not given a sign of life lately."""
    return 1 in reply[2]
