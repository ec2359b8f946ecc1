"""The application that chaos runs: ``dueq run dueq.chaos.tasks:app``.

The tasks read the kernel's clock directly. A scenario may shift the clocks of the module ``time``, and the ledger must
stay right.
"""

from __future__ import annotations

import os
import signal
import time

from ..core.app.application import Dueq
from ..core.app.context import current
from ..harness.ledger import DIRECTORY_VARIABLE, Finish, Ledger, Start, ledger_of

app = Dueq()


@app.task(queue="chaos", retries=0)
def nap(due_us: int, duration_us: int) -> None:
    """Write the start into the ledger, sleep ``duration_us`` microseconds, write the finish."""
    book = _started(due_us)
    if duration_us:
        time.sleep(duration_us / 1_000_000)
    me = current()
    book.finish(Finish(me.id, _now_us(), me.token, os.getpid()))


@app.task(queue="chaos", retries=0)
def poison(due_us: int) -> None:
    """Write the start, and kill the worker."""
    _started(due_us)
    os.kill(os.getpid(), signal.SIGKILL)


def _started(due_us: int) -> Ledger:
    me = current()
    book = ledger_of(os.environ.get(DIRECTORY_VARIABLE, ""))
    book.start(Start(me.id, _now_us(), due_us, me.token, me.attempt, os.getpid(), me.cause))
    return book


def _now_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
