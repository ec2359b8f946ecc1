"""What one process counts, in a page of memory that its supervisor can read at any time, also after its death.

The supervisor makes the page, one child writes it, and SIGKILL may hit the child between any two instructions:

- Every number is an aligned 8-byte cell, written with one store, so no reader ever sees half of one.
- A new series is written behind the table's end, and then published by moving the end: one store again.
- Nothing published ever moves or is removed, so a number once read never falls.

    cell 0    1          2      3         4      5          6       7         8              72
    END  | overflowed | state | turn by | beat | deadline | token | refused | tokens begun | series | series | (zeros)
    series = cells it takes | bytes of its key | key: JSON [name, label value, …], zero-padded | numbers

The page has a fixed size (1 MiB: about 3,000 histograms). When it is full, new series are not counted: their handles
add to ``overflowed`` instead, one warning is logged, nothing raises, and series that exist go on.
"""

from __future__ import annotations

import json
import logging
import math
import mmap
import os
import tempfile
import threading
import time
import weakref
from bisect import bisect_left
from typing import Any, NamedTuple

from multiprocess import context, reduction

from ..client.counting import COMMANDS
from .metrics import DEFINITIONS, PROCESS_STATES, Definition, Kind, ProcessState

PAGE_BYTES = 1 << 20

_END, _OVERFLOWED, _STATE, _TURN_BY, _BEAT, _DEADLINE, _TOKEN, _REFUSED = range(8)
_BEGUN, _MOST_BEGUN = 8, 64
_TABLE = _BEGUN + _MOST_BEGUN
_CELL = 8
_DRAINING = PROCESS_STATES.index("draining")

log = logging.getLogger(__name__)


class Series(NamedTuple):
    """One series as a reader sees it: a counter's one number, or a histogram's count per bucket (not cumulative; one
    more than it has bounds) and then its sum in seconds."""

    definition: Definition
    labels: tuple[str, ...]
    values: tuple[float, ...]


class CounterHandle:
    """Counts one series of a counter. May be shared by threads."""

    __slots__ = ("_at", "_cells", "_lock")
    has_room = True
    """Whether callers may keep it: one that found no room is made anew each time."""

    def __init__(self, cells: memoryview[float], at: int, lock: threading.RLock) -> None:
        self._cells, self._at, self._lock = cells, at, lock

    def inc(self, n: float = 1) -> None:
        """Add ``n``, which is not negative."""
        with self._lock:
            self._cells[self._at] += n

    def advance_to(self, total: float) -> None:
        """Make the count ``total``, if it is less."""
        with self._lock:
            if self._cells[self._at] < total:
                self._cells[self._at] = total


class HistogramHandle:
    """Counts one series of a histogram. May be shared by threads."""

    __slots__ = ("_at", "_bounds", "_cells", "_lock", "_sum_at")
    has_room = True

    def __init__(self, cells: memoryview[float], at: int, lock: threading.RLock, bounds: tuple[float, ...]) -> None:
        self._cells, self._at, self._lock, self._bounds = cells, at, lock, bounds
        self._sum_at = at + len(bounds) + 1

    def observe(self, seconds: float) -> None:
        """Count ``seconds`` in its bucket and add it to the sum; a negative time counts as 0."""
        with self._lock:
            # the number of observations is the sum of the buckets: a kill after this store leaves nothing at odds
            self._cells[self._at + bisect_left(self._bounds, seconds)] += 1
            if seconds > 0:
                self._cells[self._sum_at] += seconds


class _NoCounter(CounterHandle):
    """Stands in for a counter that found no room."""

    __slots__ = ()
    has_room = False

    def inc(self, n: float = 1) -> None:
        super().inc(1)

    def advance_to(self, total: float) -> None:
        super().inc(1)


class _NoHistogram(HistogramHandle):
    """Stands in for a histogram that found no room."""

    __slots__ = ()
    has_room = False

    def observe(self, seconds: float) -> None:
        with self._lock:
            self._cells[self._at] += 1


class Counters:
    """The counters and signs of life of one process. Give it to a child as an argument of its ``Process``.

    One process writes, from any of its threads; the process that made it reads. A copy reached by os.fork must not
    count: there would be two writers. Handles are not to be made inside a signal handler; ``inc`` may be called there.
    """

    def __init__(self, size: int = PAGE_BYTES) -> None:
        """Make a page of ``size`` bytes, a multiple of 8. Raises OSError if there is no memory or file for it."""
        self._fd = anonymous_file(size)
        # also when it is forgotten rather than closed
        self._give_back: weakref.finalize[..., Counters] | None = weakref.finalize(self, os.close, self._fd)
        self._map(self._fd, size)

    def _map(self, fd: int, size: int) -> None:
        self._size = size
        self._page = mmap.mmap(fd, size)
        self._cells: memoryview[float] = memoryview(self._page).cast("d")
        self._ints: memoryview[int] = memoryview(self._page).cast("q")
        # reentrant: a signal handler may run inside inc, and must not wait for itself
        self._lock = threading.RLock()
        self._counters: dict[tuple[str, ...], CounterHandle] = {}  # by name, label names and label values
        self._histograms: dict[tuple[str, ...], HistogramHandle] = {}
        self._found: list[tuple[Definition, tuple[str, ...], int]] = []
        self._found_to = _TABLE
        self._begun_at = 0
        self._warned = False
        if self._ints[_END] == 0:
            self._ints[_END] = _TABLE

    def __getstate__(self) -> dict[str, Any]:
        context.assert_spawning(self)
        return {"fd": reduction.DupFd(self._fd), "size": self._size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        fd = state["fd"].detach()
        try:
            self._map(fd, state["size"])
        finally:
            os.close(fd)
        self._fd, self._give_back = -1, None

    def close(self) -> None:
        """Give the memory back. Reading or counting afterwards raises ValueError."""
        self._cells.release()
        self._ints.release()
        self._page.close()
        if self._give_back is not None:
            self._give_back()
        self._fd = -1

    # --- counting: the one writer -----------------------------------------------------------------------------------

    def counter(self, name: str, /, **labels: str) -> CounterHandle:
        """The handle that counts this series. Keep it where it is used often.

        Raises KeyError for a metric that does not exist, TypeError if it is not a counter or has other labels.
        """
        found = self._counters.get((name, *labels, *labels.values()))
        return found if found is not None else self._add_counter(name, labels)

    def histogram(self, name: str, /, **labels: str) -> HistogramHandle:
        """The handle that counts this series. Keep it where it is used often. Raises like ``counter``."""
        found = self._histograms.get((name, *labels, *labels.values()))
        return found if found is not None else self._add_histogram(name, labels)

    def mirror_commands(self, role: str) -> None:
        """Copy how many Redis commands this process has sent so far. No system call: call it once per turn."""
        self.counter("dueq_redis_commands_total", role=role).advance_to(COMMANDS.sent)

    def turn(self, sleeps: float = 0.0) -> None:
        """Note that the process's loop has come round, and will again as soon as it can, or in ``sleeps`` seconds."""
        self._cells[_TURN_BY] = time.monotonic() + sleeps

    def beat(self) -> None:
        """Note that the process is alive and its interpreter runs code."""
        self._cells[_BEAT] = time.monotonic()

    def begin(self, token: int, hard_timeout: float | None) -> None:
        """Note that the task claimed under ``token`` runs from now on, for ``hard_timeout`` seconds at most."""
        now = time.monotonic()
        self._cells[_DEADLINE] = now + hard_timeout if hard_timeout else 0.0
        self._cells[_BEAT] = now
        self._ints[_BEGUN + self._begun_at] = token
        self._begun_at = (self._begun_at + 1) % _MOST_BEGUN
        self._ints[_TOKEN] = token  # last: a reader that sees it sees the deadline that goes with it

    def end(self) -> None:
        """Note that no task runs any more."""
        self._ints[_TOKEN] = 0

    def _add_counter(self, name: str, labels: dict[str, str]) -> CounterHandle:
        definition, values = _checked("counter", name, labels)
        with self._lock:
            key = (name, *definition.labels, *values)
            handle = self._counters.get(key)
            if handle is None:
                at = self._publish(definition, values)
                if at is None:  # not kept: a page too small for the labels must not become a leak either
                    return _NoCounter(self._cells, _OVERFLOWED, self._lock)
                handle = self._counters[key] = CounterHandle(self._cells, at, self._lock)
            # found at once from now on, in whichever order the caller names the labels
            self._counters[name, *labels, *labels.values()] = handle
            return handle

    def _add_histogram(self, name: str, labels: dict[str, str]) -> HistogramHandle:
        definition, values = _checked("histogram", name, labels)
        with self._lock:
            key = (name, *definition.labels, *values)
            handle = self._histograms.get(key)
            if handle is None:
                at = self._publish(definition, values)
                if at is None:
                    return _NoHistogram(self._cells, _OVERFLOWED, self._lock, ())
                handle = self._histograms[key] = HistogramHandle(self._cells, at, self._lock, definition.buckets)
            self._histograms[name, *labels, *labels.values()] = handle
            return handle

    def _publish(self, definition: Definition, values: tuple[str, ...]) -> int | None:
        """Append a series to the table; the index of its first number, or None if there is no room."""
        key = json.dumps([definition.name, *values]).encode()
        start = self._ints[_END]
        numbers = start + 2 + -(-len(key) // _CELL)
        end = numbers + definition.cells
        if start < _TABLE or end > len(self._ints):
            if not self._warned:
                self._warned = True
                log.warning("no room left for metrics: %s %s and other new series are not counted in this process; "
                            "are there very many queues or tasks?", definition.name, values)  # fmt: skip
            return None
        self._page[(start + 2) * _CELL : (start + 2) * _CELL + len(key)] = key
        self._ints[start + 1] = len(key)
        self._ints[start] = end - start
        self._ints[_END] = end  # published: all before this is in place if the process dies here
        return numbers

    # --- reading: any process with the page -------------------------------------------------------------------------

    def series(self) -> list[Series]:
        """Every published series and its numbers now. Not for two threads at once.

        A series is listed twice if its writer was interrupted while making it: add such numbers up. What something else
        has written over the page is left out.
        """
        end = min(self._ints[_END], len(self._ints))
        while self._found_to < end:
            found = self._decode(self._found_to, end)
            if found is None:
                # A processor may show us the new end before what lies behind it. Words not here yet are still
                # zero, which no key has, so it is noticed; the next read finds them.
                break
            self._found.append(found)
            self._found_to = found[2] + found[0].cells
        every = (Series(of, labels, tuple(self._cells[at : at + of.cells].tolist())) for of, labels, at in self._found)
        return [series for series in every if all(0 <= number < math.inf for number in series.values)]

    def _decode(self, start: int, end: int) -> tuple[Definition, tuple[str, ...], int] | None:
        if start + 2 > end:
            return None
        cells, length = self._ints[start], self._ints[start + 1]
        if not 0 < length <= (end - start - 2) * _CELL:
            return None
        try:
            name, *labels = json.loads(self._page[(start + 2) * _CELL : (start + 2) * _CELL + length])
            definition = DEFINITIONS[name]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        if not all(isinstance(label, str) for label in labels):
            return None
        numbers = start + 2 + -(-length // _CELL)
        if cells != numbers - start + definition.cells or start + cells > end or len(labels) != len(definition.labels):
            return None
        return definition, tuple(labels), numbers

    @property
    def overflowed(self) -> int:
        """How many events were not counted because the page was full."""
        return int(self._cells[_OVERFLOWED])

    # --- signs of life: fixed cells, for the supervisor -------------------------------------------------------------

    @property
    def damaged(self) -> bool:
        """Whether something else was written over the page: then none of its numbers can be relied on."""
        return not (_TABLE <= self._ints[_END] <= len(self._ints) and 0 <= self._ints[_STATE] < len(PROCESS_STATES))

    @property
    def state(self) -> ProcessState:
        """``ready``, as most are, if the page is damaged."""
        return "ready" if self.damaged else PROCESS_STATES[self._ints[_STATE]]

    @state.setter
    def state(self, state: ProcessState) -> None:
        self._ints[_STATE] = PROCESS_STATES.index(state)

    @property
    def refused(self) -> bool:
        """Whether Redis answers, but refuses what the process's loops need."""
        return bool(self._ints[_REFUSED])

    @refused.setter
    def refused(self, refused: bool) -> None:
        self._ints[_REFUSED] = int(refused)

    @property
    def draining(self) -> bool:
        """Whether the supervisor has asked the process to end, whatever became of its signal."""
        return self._ints[_STATE] == _DRAINING

    @property
    def token(self) -> int:
        """The token of the task that runs, or ran when the process died; 0: none."""
        return self._ints[_TOKEN]

    @property
    def begun(self) -> list[int]:
        """The tokens of the tasks that began last, in no order."""
        return [token for token in self._ints[_BEGUN : _BEGUN + _MOST_BEGUN].tolist() if token]

    @property
    def deadline(self) -> float:
        """Until when that task may run; 0: for ever. All times here are ``time.monotonic()`` seconds, which all
        processes of a host share."""
        return self._cells[_DEADLINE]

    @property
    def turn_by(self) -> float:
        """When the process's loop came round last, or when it meant to wake from its sleep; 0: not yet."""
        return self._cells[_TURN_BY]

    @property
    def beaten_at(self) -> float:
        """When the process last gave a sign of life; 0: never."""
        return self._cells[_BEAT]


def _checked(kind: Kind, name: str, labels: dict[str, str]) -> tuple[Definition, tuple[str, ...]]:
    definition = DEFINITIONS[name]
    if definition.kind != kind or labels.keys() != definition.labels.keys():
        raise TypeError(f"{name} is a {definition.kind} with the labels {list(definition.labels)}, not {list(labels)}")
    return definition, tuple(labels[label] for label in definition.labels)


def anonymous_file(size: int, name: str = "dueq-counters") -> int:
    """A descriptor of ``size`` zero bytes of shared memory that no directory lists. ``name`` is what /proc shows."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name)
        os.truncate(fd, size)
        return fd
    with tempfile.TemporaryFile() as file:
        file.write(bytes(size))  # really there: a hole on a full disk would kill the process that touches it
        file.flush()
        return os.dup(file.fileno())
