"""A task that goes on by itself: each run schedules the next under its own id."""

from __future__ import annotations

import os
import time

from dueq import Dueq, current

app = Dueq()


@app.task(retries=0)
def tick(number: int, last: int) -> None:
    """Record the number, and schedule the next run. Numbers that end with 9 fail after that."""
    if number < last:
        handle = tick.after(0.005, id=current().id)(number + 1, last)
        assert handle.state == "after this run", handle
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{number} {current().token} {os.getpid()}\n".encode())
    os.close(ledger)
    time.sleep(0.01)
    if number % 10 == 9:
        raise RuntimeError("on purpose")
