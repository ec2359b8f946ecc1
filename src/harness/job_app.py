"""The application that a replay runs: ``dueq run dueq.harness.job_app:app``."""

from __future__ import annotations

import os
import time

from ..core.app.application import Dueq
from ..core.app.context import current
from .ledger import DIRECTORY_VARIABLE, Finish, Start, ledger_of

app = Dueq()


@app.task(queue="replay", retries=0)
def job(due_us: int, duration_us: int, ledger: str | None = None) -> None:
    """Write the start into the ledger, sleep ``duration_us`` microseconds, write the finish.

    ``due_us`` is the due time of the plan; ``ledger`` a directory, by default ``$DUEQ_REPLAY_LEDGER``. There are no
    retries: a job that cannot write its lines must show as lost, not as a second start.
    """
    started_us = time.time_ns() // 1000
    me = current()
    book = ledger_of(ledger or os.environ.get(DIRECTORY_VARIABLE, ""))
    book.start(Start(me.id, started_us, due_us, me.token, me.attempt, os.getpid(), me.cause))
    time.sleep(duration_us / 1_000_000)
    book.finish(Finish(me.id, time.time_ns() // 1000, me.token, os.getpid()))
