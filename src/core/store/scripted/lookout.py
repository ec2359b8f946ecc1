"""What a worker asks and does, over another connection, while the one that it sleeps on is blocked.

Needs Redis 3.0.3: EXISTS with several keys.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...client.deadline import within
from ...client.listener import OVERDUE_S
from ...client.transactions import Transactions
from ...clock import US
from ...schema import ownership
from ...schema.keys import Keys
from ...schema.ownership import Ownership
from ...schema.script import Script
from ..names import KnownNames
from ..values import Look, Step


class Lookout:
    """For the workers of one process. Redis gets no more time for its replies than after the end of a sleep."""

    def __init__(self, trips: Transactions, keys: Keys, ours: Ownership, names: KnownNames, end_sleep: Script) -> None:
        self._trips, self._keys, self._ours, self._names = trips, keys, ours, names
        self._end_sleep = end_sleep

    def look(self, step: Step, workers: Sequence[str]) -> Look:
        """Whether ``step``, which takes tasks, would find nothing ready, nothing put aside, and nothing out of order,
        and no task is held in the name of one of ``workers``.

        The steps themselves, scripts, would send many commands to find that out. This sends three. Raises what the step
        does if the namespace is another's by now.
        """
        keys = self._keys
        held = (keys.of("held", worker) for worker in workers)
        places = (*held, *(keys.of("ready", queue) for queue in step.queues))
        also = ("aside", self._names.field) if self._names.field else ("aside",)
        sent_ns = time.monotonic_ns()
        with within(OVERDUE_S):
            there, meta, time_ = self._trips.trip(
                [("EXISTS", *places), ownership.question(keys, *also), ("TIME",)],
            )
        received_ns = time.monotonic_ns()
        kept, (aside, *known) = meta[: -len(also)], meta[-len(also) :]
        ownership.require(keys, self._ours, kept, settled=True)
        quiet = not there and aside is None and None not in known and ownership.is_engines(kept, self._ours)
        return Look(quiet, _us(time_), sent_ns, received_ns)

    def bell(self, worker: str) -> str:
        """See ``Keys.bell_of``."""
        return self._keys.bell_of(worker)

    def wake(self, worker: str, *, gone: bool = False) -> None:
        """End this worker's sleep, and no other's: another may only seem to sleep. One that is ``gone`` begins none."""
        with within(OVERDUE_S):
            if self._end_sleep(worker) and gone:
                self._trips.trip([("DEL", self.bell(worker))])


def nothing_held(trips: Transactions, keys: Keys) -> int:
    """Redis's time in microseconds, if no lease is out and no worker holds anything; else 0."""
    there, time_ = trips.trip([("EXISTS", keys.plain("leased"), keys.plain("workers")), ("TIME",)])
    return 0 if there else _us(time_)


def _us(reply: Sequence[bytes]) -> int:
    seconds, micros = reply
    return int(seconds) * US + int(micros)
