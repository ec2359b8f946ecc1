"""An engine's ownership of its namespace: claimed when it starts, and again whenever Redis has lost that.

Redis may lose everything (FLUSHALL, a restart without persistence) or only ``meta`` (eviction) under a running engine.
Then nobody owns the namespace, and the next producer that comes along writes the default strategy. A producer's choice
yields to an engine, by the steps of a migration: its tasks are moved to the engine's strategy. An engine's choice does
not.

Any supervisor may be killed in the middle of that. The others see that its migration gives no sign of life any more,
and go on with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import NamespaceMigrating, StrategyYields, YieldUnderWay
from ..namespace import Namespace
from ..schema import ownership
from ..store.damaged_meta import put_damage_apart
from . import migration

log = logging.getLogger("dueq.supervisor")

_LOOK_S = 7.5  # one command
_WAIT_S = 0.5  # while another process moves the tasks
_STILL_S = 15.0
"""How long a migration that yields may stand still until another engine goes on with it."""


class Reclaim:
    """A duty of the supervisor's presence. ``settle`` does it once, before the children are started."""

    def __init__(
        self,
        namespace: Namespace,
        on_loss: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_loss`` is called when the namespace turns out to have been lost. ``clock`` is for tests."""
        self._namespace, self._on_loss, self._clock = namespace, on_loss, clock
        self._mine: Iterator[int] | None = None
        self._moved = 0
        self._seen: Any = None  # the sign of life of another process's migration, and when it last changed
        self._seen_at = 0.0
        self.settled = False
        """Whether this engine owned the namespace at the last look."""

    def settle(self) -> None:
        """Return once this engine owns the namespace.

        Raises StrategyMismatch if another engine does, with another strategy; NamespaceMigrating while somebody
        migrates it; NamespaceTooNew.
        """
        while True:
            seconds = self.run_once()
            if self.settled:
                return
            time.sleep(seconds)

    def run_once(self) -> float:
        """Look once, or move some tasks; returns in how many seconds to go on. Raises like ``settle``."""
        if self._mine is not None:
            return self._move_on(self._mine)
        space = self._namespace
        kept = ownership.look(space.client, space.keys)
        if self.settled and ownership.is_engines(kept, space.strategy.ownership):
            return _LOOK_S
        put_damage_apart(space.client, space.keys)
        had, self.settled = self.settled, False
        try:
            space.claim(again=had)
        except YieldUnderWay:
            return self._watch()
        except StrategyYields:
            return self._take_over()
        self.settled = True
        if had:
            log.warning("namespace %s was lost, and is claimed again: did Redis lose its data?", space.keys.namespace)
            self._on_loss()
        return _LOOK_S

    def _take_over(self) -> float:
        space, (ours, store) = self._namespace, self._namespace.strategy.ownership
        begun = migration.begin(space, ours, by="producer", store=store)
        if begun is not None:
            log.warning(
                "namespace %s: strategy %s, which a producer chose, yields to %s: moving its tasks",
                space.keys.namespace,
                begun.source,
                ours,
            )
            self._mine, self._moved = begun.moves(), 0
            self._on_loss()
        return 0.0

    def _move_on(self, mine: Iterator[int]) -> float:
        try:
            moved = next(mine, None)
        except NamespaceMigrating as error:
            log.info("%s", error)  # another process goes on with it, or Redis has lost all again
            self._mine = None
            return _WAIT_S
        except BaseException:
            self._mine = None  # Redis trouble: begin again, and go on where it was
            raise
        if moved is None:
            log.info("%d tasks were moved", self._moved)
            self._mine = None
        else:
            self._moved += moved
        return 0.0

    def _watch(self) -> float:
        """Another process moves the tasks to this very strategy: take over only if that process stands still."""
        space = self._namespace
        sign: Any = space.client.hmget(space.keys.plain("meta"), ["migrator", "moved"])
        if sign != self._seen:
            self._seen, self._seen_at = sign, self._clock()
        if self._clock() - self._seen_at < _STILL_S:
            return _WAIT_S
        self._seen = None
        return self._take_over()
