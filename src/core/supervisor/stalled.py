"""Withdraws the requests of workers that stand still in their sleep, before these take tasks that nobody would run.

A sleeping worker has left a request in Redis: to wait for a wake-up, and to take a task then (see
store/scripted/channel.py). If the worker is stopped meanwhile, the request waits on for minutes. If the whole host is
gone, Redis finds that out by the supervisor's silence. But as long as the supervisor lives, only it can tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ..namespace import Namespace
from ..telemetry.counters import Counters

_LOOK_S = 5.0
_STILL_S = 10.0  # a worker gives a sign of life once a second, also while it sleeps


class Stalled:
    """A duty of the supervisor's presence: a command only when a worker begins to stand still."""

    def __init__(self, namespace: Namespace, workers: Callable[[], Mapping[str, Counters]]) -> None:
        """``workers`` returns the workers by name; any thread may call it."""
        self._namespace, self._workers = namespace, workers
        self._withdrawn: set[str] = set()

    def run_once(self) -> float:
        """Look once; returns in how many seconds to look again."""
        still = {name for name, counters in self._workers().items() if _stands_still(counters)}
        self._withdrawn &= still
        for name in still - self._withdrawn:
            self._namespace.store.end_sleep(name)
            self._withdrawn.add(name)
        return _LOOK_S


def _stands_still(counters: Counters) -> bool:
    now = time.monotonic()
    try:
        if counters.token or not (counters.beaten_at and counters.turn_by):  # it runs a task, or has not begun
            return False
        return now > counters.beaten_at + _STILL_S or now > counters.turn_by + _STILL_S
    except ValueError:  # its memory has been given back
        return False
