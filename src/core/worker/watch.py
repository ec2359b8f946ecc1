"""While workers sleep, one of them looks for all whether something is ready that no worker was woken for.

A worker that goes to sleep has just looked, by its last step, and found nothing. While it sleeps, a wake-up may be
lost, so somebody has to look within a safety net. The first whose time comes becomes the *keeper* of the watch: it
looks, and promises to look again by a certain time, in memory that the workers of a supervisor share. The others of its
kind, which serve the same queues and know the same tasks, sleep on until then. If the promise is not kept, since the
keeper runs a task, is gone, or has found that something may be ready, then each of them looks. So what nobody was woken
for is found within a safety net, as if each of them looked that often.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from multiprocess import context, reduction

from ..client.counting import BLOCKING_S
from ..clock import US, ServerClock
from ..schema.bounds import FRESH_US
from ..schema.keys import childs_name, number_of_child
from ..store.values import Look
from ..telemetry.counters import anonymous_file

_KEEPER, _UNTIL, _CLOCK, _CLOCK_AT_NS, _SLEEPERS = range(5)
_MOST_SLEEPERS = 1024
_BYTES = 8 * (_SLEEPERS + _MOST_SLEEPERS)
_KIND_BITS = 41  # beside them a process id, of 22 bits, fits into a signed cell
_SIGN_BITS = 21  # of the kind, beside milliseconds
_TRIP_BITS, _TRIP_US = 12, 16  # a trip of up to 65 ms, in steps of 16 us, beside microseconds

LEAST_S = FRESH_US / US
"""Workers that look more often than this do so for themselves: the request of one that is gone must not wait longer
than the safety net."""
_EARLY_S = 2.0  # before the safety net ends, for the keeper
_OTHERS_EARLY_S = 1.0  # the same for the others, at most: not all at once


class WatchPage:
    """The memory that all workers of a supervisor share. Give it to a child as part of its order.

    Each cell is written with one store, so cells that belong together are read as they were at different times:

    - the process id of the keeper, and its kind
    - until when its promise holds, in milliseconds, and a part of its kind: no worker takes the promise of another kind
      for one of its own
    - how far Redis's clock is ahead of this host's at least, in microseconds, and how long that trip took
    - when that was, on the monotonic clock. It is written after the cell before, and read before it: a reader takes the
      difference for older than it is, never for younger
    - the numbers of the workers that sleep, each at a place of its own as long as these suffice
    """

    def __init__(self) -> None:
        """Raises OSError if there is no memory or file for it."""
        self._fd = anonymous_file(_BYTES, "dueq-watch")
        weakref.finalize(self, os.close, self._fd)
        self._map(self._fd)

    def _map(self, fd: int) -> None:
        self.cells: memoryview[int] = memoryview(mmap.mmap(fd, _BYTES)).cast("q")

    def __getstate__(self) -> dict[str, Any]:
        context.assert_spawning(self)
        return {"fd": reduction.DupFd(self._fd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fd = state["fd"].detach()
        try:
            self._map(fd)
        finally:
            os.close(fd)


class KeptWatch:
    """One worker's part in the watch: see ``Watch`` in core/store/base.py."""

    def __init__(
        self,
        page: WatchPage,
        worker: str,
        supervisor: str,
        clock: ServerClock,
        safety_net: float,
        awake: Callable[[], None],
    ) -> None:
        """``awake`` is called whenever the sleeping ``worker`` of ``supervisor`` has seen to the watch."""
        self.supervisor = supervisor
        self._cells, self._clock, self._awake = page.cells, clock, awake
        self._number = number_of_child(worker)
        self._place = _SLEEPERS + self._number % _MOST_SLEEPERS
        self._every = min(safety_net, BLOCKING_S)
        pid = os.getpid()
        self._pid, self._later_s = pid << _KIND_BITS, pid % 16 / 16 * _OTHERS_EARLY_S
        self._me = self._kind = 0
        self._looked_ns = 0

    def serves(self, queues: Sequence[str], names: Iterable[str]) -> None:
        """Say what this worker serves from now on."""
        text = json.dumps([sorted(queues), sorted(names)]).encode("utf-8", "surrogateescape")
        digest = hashlib.sha1(text, usedforsecurity=False).digest()
        self._kind = int.from_bytes(digest[:8], "big") & _mask(_KIND_BITS)
        self._me = self._pid | self._kind

    def looked(self, at_us: int) -> None:
        """The worker's own step found nothing, at ``at_us`` by Redis's clock."""
        self._looked_ns = time.monotonic_ns() - max(0, self._clock.latest_us() - at_us) * 1000

    def begin(self) -> None:
        self._cells[self._place] = self._number

    def end(self) -> None:
        if self._cells[self._place] == self._number:
            self._cells[self._place] = 0

    def rest(self) -> float:
        if self._cells[self._place] != self._number:  # another worker is at this place: who looks does not know of us
            return 0.0
        promised = self._promised_s()
        if promised and self._cells[_KEEPER] == self._me:
            return max(0.0, promised - _EARLY_S)
        return max(0.0, max(promised, self._own_s()) - _OTHERS_EARLY_S + self._later_s)

    def kept(self, look: Callable[[Sequence[str]], Look]) -> bool:
        self._awake()
        self._read_clock()
        if self.rest():
            return True
        self.begin()
        found = look(self._sleepers())
        self._clock.observe(found.now_us, found.sent_ns, found.received_ns)
        if not found.quiet:
            return False
        self._looked_ns = found.sent_ns
        self._promise(found.sent_ns)
        self._write_clock(found)
        return True

    # -- whose turn it is

    def _own_s(self) -> float:
        """Seconds that are left of a net since this worker looked."""
        return self._every - (time.monotonic_ns() - self._looked_ns) / 1e9

    def _promised_s(self) -> float:
        """Seconds that are left of the promise; 0 if no worker of this kind has made it."""
        until, keeper = self._cells[_UNTIL], self._cells[_KEEPER]
        if keeper & _mask(_KIND_BITS) != self._kind or until & _mask(_SIGN_BITS) != self._kind & _mask(_SIGN_BITS):
            return 0.0
        left = (until >> _SIGN_BITS) / 1000 - time.monotonic()
        return left if 0 < left < self._every + 0.001 else 0.0  # more only if something was written over it

    def _promise(self, asked_ns: int) -> None:
        """Promise to look again, so that two looks are never further apart than the net. ``asked_ns`` is when Redis was
        asked: what became ready after that may not have been seen. A promise that holds for longer stays."""
        until_ms = asked_ns // 1_000_000 + int(self._every * 1000)
        if self._promised_s() < until_ms / 1000 - time.monotonic():
            self._cells[_KEEPER] = self._me
            self._cells[_UNTIL] = until_ms << _SIGN_BITS | self._kind & _mask(_SIGN_BITS)

    def _sleepers(self) -> list[str]:
        """The names of all workers of the supervisor that sleep."""
        numbers = filter(None, self._cells[_SLEEPERS:].tolist())
        return [childs_name("worker", self.supervisor, number) for number in numbers]

    # -- the clock of all: each worker's own would be vague after a long sleep

    def _write_clock(self, found: Look) -> None:
        trip = -(-(found.received_ns - found.sent_ns) // 1000 // _TRIP_US)
        if trip <= _mask(_TRIP_BITS):
            self._cells[_CLOCK] = (found.now_us - found.received_ns // 1000) << _TRIP_BITS | trip
            self._cells[_CLOCK_AT_NS] = found.received_ns

    def _read_clock(self) -> None:
        at_ns = self._cells[_CLOCK_AT_NS]
        ahead_us, trip = self._cells[_CLOCK] >> _TRIP_BITS, self._cells[_CLOCK] & _mask(_TRIP_BITS)
        if at_ns and 0 <= time.monotonic_ns() - at_ns < self._clock.age_s * 1e9:
            self._clock.observe(ahead_us + at_ns // 1000, at_ns - trip * _TRIP_US * 1000, at_ns)


def _mask(bits: int) -> int:
    return (1 << bits) - 1
