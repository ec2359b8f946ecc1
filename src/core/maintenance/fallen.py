"""Gives back at once what the processes of another supervisor of this host held, once all of them are gone.

No process is left that saw them die: everything was killed, or the container ended. A free lock in the state directory
proves their death (see ``process/state_lock.py``). A supervisor looks for free locks when it starts, and then each
second: if several supervisors share a state directory, any of them gives back what a dead one held. The second look
also finds a lock that the first did not: a fork of a task keeps it until the fork's own first code has run.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import cast

from ..client.paging import zset_pages
from ..client.protocol import LENIENT
from ..client.redaction import redact
from ..errors import DueqError
from ..namespace import Namespace
from ..process.state_lock import FreeLock, free_locks, names
from ..schema.keys import names_of_children
from ..schema.states import State
from ..telemetry.recorder import Telemetry
from .recovery import Recovery

log = logging.getLogger("dueq.supervisor")

_LOOK_S = 1.0
_LOCKS_A_SECOND = 20  # in a directory with more locks, looks are less frequent
_HOW = "was killed together with its supervisor"


def facts_of(namespace: Namespace) -> dict[str, str]:
    """What the file of a lock says about the namespace of its supervisor: its Redis and its name."""
    return {"redis": redact(namespace.settings.redis_url or ""), "namespace": namespace.keys.namespace}


class Fallen:
    """A duty of the supervisor's presence: look for free locks, and give back what their supervisors held.

    The lock is kept until everything is given back. If this process dies before that, another finds the lock free.
    """

    def __init__(self, namespace: Namespace, telemetry: Telemetry, max_losses: int, directory: Path) -> None:
        """``telemetry`` is for this duty alone, since its thread writes the notes of the journal."""
        self._namespace, self._directory = namespace, directory
        self._recovery = Recovery(namespace, telemetry, max_losses)
        self._facts: Mapping[str, str] = facts_of(namespace)
        self._locks: deque[FreeLock] = deque()
        self._strangers: set[str] = set()  # of another Redis with the same address, as in another container

    def run_once(self) -> float:
        """Look for free locks and give back; returns the seconds until the next turn."""
        files = names(self._directory)
        for lock in free_locks(self._directory, files, self._facts):
            if self._is_ours(lock):
                log.warning("%s and all its processes are gone: giving back what they held", lock.facts["supervisor"])
                self._locks.append(lock)
        while self._locks:
            if not self._recovery.waiting:
                self._bury(self._locks[0])
            if (seconds := self._recovery.run_once()) is not None:
                return seconds
            self._locks.popleft().remove()
        return max(_LOOK_S, len(files) / _LOCKS_A_SECOND)

    def _is_ours(self, lock: FreeLock) -> bool:
        """Whether this Redis knows the supervisor; if not, the lock is let go."""
        supervisor, known = lock.facts["supervisor"], False
        try:
            if supervisor not in self._strangers:
                score = self._namespace.client.zscore(self._namespace.keys.plain("supervisors"), supervisor)
                known = score is not None
                if not known:
                    self._strangers.add(supervisor)
        finally:
            if not known:
                lock.let_go()
        return known

    def _bury(self, lock: FreeLock) -> None:
        """Pass the workers and dispatchers that have anything in hand to the recovery.

        The one task that was started is to blame, unless somebody had asked the supervisor to stop: whoever asks kills
        a task that runs for too long. Of several tasks it is not known which took all with it.
        """
        space, supervisor = self._namespace, lock.facts["supervisor"]
        begin = names_of_children("worker", supervisor)
        pages = zset_pages(space.client, space.keys.plain("workers"))
        workers = [name for page in pages for name in page if name.startswith(begin)]
        begin = names_of_children("dispatcher", supervisor)
        dispatchers = [name for name in space.strategy.busy_dispatchers() if name.startswith(begin)]
        blame = not lock.was_stopping and len(list(islice(self._started(workers), 2))) == 1
        # only now: a failure before this is tried again as a whole
        for name in workers:
            self._recovery.add("worker", name, how=_HOW, blame=blame, running=None)
        for name in dispatchers:
            self._recovery.add("dispatcher", name)

    def _started(self, workers: Sequence[str]) -> Iterator[str]:
        """The tasks of these workers that Redis has as started."""
        client, keys, store = self._namespace.client, self._namespace.keys, self._namespace.store
        for name in workers:
            for raw_id in client.lrange(keys.of("held", name), 0, -1):
                task_id = cast("bytes", raw_id).decode(errors=LENIENT)
                with suppress(DueqError):  # a newer dueq's record, or a damaged one
                    record = store.record(task_id)
                    if record is not None and (record.state, record.worker) == (State.LEASED, name):
                        yield task_id
