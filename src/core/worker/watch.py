"""While workers sleep, one of them looks for all whether something is ready that no worker was woken for.

A worker that goes to sleep has just looked, and found nothing. While it sleeps, a wake-up may be lost, so somebody has
to look now and then. The *keeper* of the watch promises to look again by a certain time, in memory that the workers of
a supervisor share. The others of its kind, which serve the same queues and know the same tasks, sleep on until then. If
the promise is not kept, since the keeper runs a task, is gone, or has found that something may be ready, then each of
them looks. So what nobody was woken for is found within a safety net, as if each of them looked that often.
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
from ..telemetry.counters import anonymous_file

_KEEPER, _UNTIL_NS = range(2)
_BYTES = 16
_KIND_BITS = 41  # beside them a process id, of 22 bits, fits into a signed cell

_LEAST_S = 5.0  # workers that look more often than this do so for themselves
_EARLY_S = 2.0  # before the safety net ends, for the keeper
_OTHERS_EARLY_S = 1.0  # the same for the others, at most: not all at once
_ALONE_S = 300.0


class WatchPage:
    """The memory that all workers of a supervisor share. Give it to a child as part of its order.

    Each cell is written with one store. The keeper and its kind are in one cell, so that no worker takes the promise of
    another kind for one of its own.
    """

    def __init__(self) -> None:
        """Raises OSError if there is no memory or file for it."""
        self._fd = anonymous_file(_BYTES)
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

    def __init__(self, page: WatchPage, safety_net: float, awake: Callable[[], None]) -> None:
        """``awake`` is called whenever a sleeping worker has seen to the watch."""
        self._cells, self._awake = page.cells, awake
        self._every = min(safety_net, BLOCKING_S)
        pid = os.getpid()
        self._pid, self._later_s = pid << _KIND_BITS, pid % 16 / 16 * _OTHERS_EARLY_S
        self._me = self._kind = 0
        self._alone_until = 0.0

    def serves(self, queues: Sequence[str], names: Iterable[str]) -> None:
        """Say what this worker serves from now on."""
        text = json.dumps([sorted(queues), sorted(names)]).encode("utf-8", "surrogateescape")
        digest = hashlib.sha1(text, usedforsecurity=False).digest()
        self._kind = int.from_bytes(digest[:8], "big") & ((1 << _KIND_BITS) - 1)
        self._me = self._pid | self._kind

    @property
    def shared(self) -> bool:
        """Whether this worker takes part at present: not if it had to look by itself a short while ago."""
        return self._every >= _LEAST_S and time.monotonic() >= self._alone_until

    def begin(self) -> None:
        if self._cells[_KEEPER] == self._me or not self.rest():
            self._promise()

    def rest(self) -> float:
        left = (self._cells[_UNTIL_NS] - time.monotonic_ns()) / 1e9
        if not 0 < left <= self._every:  # the latter only if something was written over it
            return 0.0
        keeper = self._cells[_KEEPER]
        if keeper == self._me:
            return max(0.0, left - _EARLY_S)
        ours = keeper & ((1 << _KIND_BITS) - 1) == self._kind
        return max(0.0, left - _OTHERS_EARLY_S + self._later_s) if ours else 0.0

    def kept(self, is_quiet: Callable[[], bool]) -> bool:
        self._awake()
        if self.rest():
            return True
        if is_quiet():
            self._promise()
            return True
        self._alone_until = time.monotonic() + _ALONE_S
        return False

    def _promise(self) -> None:
        self._cells[_KEEPER] = self._me
        self._cells[_UNTIL_NS] = time.monotonic_ns() + round(self._every * 1e9)
