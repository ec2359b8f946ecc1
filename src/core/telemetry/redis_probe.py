"""What the metrics page reads from Redis, in threads of its own, so that no lost host or name server holds up the page.

There are two inquiries: whether Redis is up, and how many tasks there are. The first costs the same however many queues
there are, so that it does not fail because the second takes long.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from redis.exceptions import RedisError, ResponseError

from ..client.failures import described
from ..clock import US, now_us
from ..config import Settings
from ..errors import DueqError
from ..namespace import Namespace
from ..schema.quarantine import Kind, counts
from ..store import write_probe
from .labels import MOST, OTHER

REPLY_S = 1.0
"""How long a reply may take before Redis counts as away."""
COUNT_S = 5.0
"""How long counting tasks may take; Prometheus waits 10 s for a page."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reading(Generic[T]):
    """One attempt of an inquiry; ``reply`` stays None if it failed."""

    done: threading.Event = field(default_factory=threading.Event)
    reply: T | None = None


class Inquiry(Generic[T]):
    """A request to Redis that is sent again and again, over a connection of its own. Any thread may read it."""

    def __init__(self, settings: Settings, question: Callable[[Namespace], T], timeout: float) -> None:
        if not settings.redis_url:
            raise ValueError("settings must say where Redis is: a scrape must not start a server")
        self._settings, self._question, self._timeout = settings, question, timeout
        self._lock = threading.Lock()
        self._reading: _Reading[T] | None = None
        self._namespace: Namespace | None = None
        self._failing = self._closed = False

    def read(self) -> T | None:
        """The reply now, or None if it did not come within the time-out. Readers at the same time share one reply."""
        with self._lock:
            if self._reading is None or self._reading.done.is_set():
                self._reading = _Reading()
                threading.Thread(target=self._run, args=(self._reading,), name="dueq-redis-probe", daemon=True).start()
            reading = self._reading
        return reading.reply if reading.done.wait(self._timeout) else None

    def close(self) -> None:
        """Close the connection, at once or when the request under way is over."""
        with self._lock:
            self._closed = True
            if self._reading is None or self._reading.done.is_set():
                self._hang_up()

    def _run(self, reading: _Reading[T]) -> None:
        try:
            if self._namespace is None:
                self._namespace = Namespace.open(self._settings, timeout=self._timeout, engine=True)
            reading.reply = self._question(self._namespace)
            if self._failing:
                log.info("Redis answers the metrics page again")
            self._failing = False
        except (DueqError, RedisError, OSError) as error:
            if not self._failing:
                log.warning("Redis did not answer the metrics page: %s", described(error))
            self._failing = True
        finally:
            with self._lock:
                if reading.reply is None or self._closed:
                    self._hang_up()
                reading.done.set()

    def _hang_up(self) -> None:
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            namespace.close()


@dataclass(frozen=True, slots=True)
class RedisView:
    """What Redis replied at one scrape, for the deepest queues and for ``other``.

    Skew and overdue are seconds. The skew is None where the namespace goes by this host's clock; ``writable`` is None
    if this user may not ask.
    """

    skew: float | None
    tasks: dict[tuple[str, str], int]
    overdue: dict[str, float]
    writable: bool | None
    quarantined: Mapping[Kind, int]


class RedisProbe:
    """Asks Redis for a scrape."""

    def __init__(
        self, settings: Settings, queues: Sequence[str], timeout: float = REPLY_S, count_timeout: float = COUNT_S
    ) -> None:
        self.produced: Mapping[tuple[str, str], int] = {}
        """What producers did, as ``Store.producer_counts`` has it, but never falling; empty until the first reply."""
        self._queues = list(queues)
        self._last_counts: Mapping[tuple[str, str], int] = {}
        self._ping = Inquiry(settings, _ping, timeout)
        self._counts = Inquiry(settings, self._count, count_timeout)

    def is_up(self) -> bool:
        """Whether Redis answers in time, at a cost that does not grow."""
        return self._ping.read() is not None

    def read(self) -> RedisView | None:
        """What Redis replies now; None if it does not reply to everything in time."""
        return self._counts.read() if self.is_up() else None

    def close(self) -> None:
        """Close the connections."""
        self._ping.close()
        self._counts.close()

    def _count(self, namespace: Namespace) -> RedisView:
        now, skew = _server_time(namespace)
        queues = sorted({*self._queues, *namespace.store.queues()})
        depths = namespace.store.depths(queues)
        aside: Counter[str] = Counter()
        for (queue, _), count in namespace.store.unclaimed().items():
            aside[queue] += count
        rows: dict[str, tuple[dict[str, int], float]] = {}
        for queue, census in zip(queues, namespace.strategy.census(queues), strict=True):
            depth = depths[queue]
            states = {
                "scheduled": census.scheduled,
                "ready": depth.ready,
                "leased": depth.leased,
                "dead": depth.dead,
                "unclaimed": aside[queue],
            }
            waiting = [due for due in (depth.oldest_ready_us, census.oldest_due_us) if due is not None]
            rows[queue] = states, max(0.0, (now - min(waiting, default=now)) / US)
        self._note_produced(namespace.store.producer_counts(queues), queues)
        return _bounded(skew, rows, _writable(namespace), counts(namespace.client, namespace.keys))

    def _note_produced(self, counts: Mapping[tuple[str, str], int], queues: Sequence[str]) -> None:
        # Redis's own count falls if the namespace is purged, or a replica that lagged takes over. Then go on from what
        # was shown, so that Prometheus does not take all that was ever scheduled for new.
        known = {(what, queue) for what in ("scheduled", "cancelled") for queue in queues}
        self.produced = {
            key: self.produced[key] + max(0, counts.get(key, 0) - self._last_counts.get(key, 0))
            if key in self.produced
            else counts.get(key, 0)
            for key in known | counts.keys() | self.produced.keys()
        }
        self._last_counts = dict(counts)


def _bounded(
    skew: float | None,
    rows: Mapping[str, tuple[Mapping[str, int], float]],
    writable: bool | None,
    quarantined: Mapping[Kind, int],
) -> RedisView:
    """The deepest queues one by one, the rest as one."""
    deepest = rows.keys()
    if len(rows) > MOST:
        deepest = dict.fromkeys(
            heapq.nlargest(MOST, rows, key=lambda queue: (sum(rows[queue][0].values()), queue))
        ).keys()
    tasks: dict[tuple[str, str], int] = {}
    overdue: dict[str, float] = {}
    for queue, (states, seconds) in rows.items():
        label = queue if queue in deepest else OTHER
        for state, count in states.items():
            tasks[label, state] = tasks.get((label, state), 0) + count
        overdue[label] = max(overdue.get(label, 0.0), seconds)
    return RedisView(skew, tasks, overdue, writable, quarantined)


def _ping(namespace: Namespace) -> bool:
    with suppress(ResponseError):  # a reply, too: this user may not ask
        namespace.client.ping()
    return True


def _writable(namespace: Namespace) -> bool | None:
    try:
        return write_probe.refusal(namespace.client, namespace.keys) is None
    except ResponseError:
        return None


def _server_time(namespace: Namespace) -> tuple[int, float | None]:
    """The namespace's time in epoch microseconds; if it is Redis's, also how many seconds ahead of this host's."""
    sent = now_us()
    now = namespace.store.time_us()
    received = now_us()
    return now, (now - (sent + received) / 2) / US if namespace.clock.of_server else None
