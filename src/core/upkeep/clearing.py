"""Clears foreign keys away (foreign_keys.py) while Redis refuses what a process needs: one of them may be the cause."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..client.safe_text import harmless
from ..namespace import Namespace
from .audit_times import request_audit
from .foreign_keys import put_apart
from .layout import mended

log = logging.getLogger("dueq.supervisor")

_LOOK_S, _LONGEST_LOOK_S = 5.0, 60.0


class Clearing:
    """A duty of the supervisor's presence: look for such keys while Redis refuses what a child needs."""

    def __init__(self, namespace: Namespace, refused: Callable[[], object]) -> None:
        """``refused`` returns whether Redis refuses that; any thread may call it."""
        self._namespace, self._refused, self._next_s = namespace, refused, _LOOK_S

    def run_once(self) -> float:
        """Look, if there is reason to; returns in how many seconds to look again."""
        if not self._refused():
            self._next_s = _LOOK_S
            return _LOOK_S
        found = [name for names in put_apart(self._namespace) for name in names]
        for name in found:
            log.error(
                "key %s held another type than dueq's: it is in quarantine now, see dueq quarantine", harmless(name)
            )
        if found:
            for _ in mended(self._namespace, self._namespace.store.queues()):
                pass
            request_audit(self._namespace)
        self._next_s = _LOOK_S if found else min(2 * self._next_s, _LONGEST_LOOK_S)  # else the cause is another
        return self._next_s
