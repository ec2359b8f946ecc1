"""The application that the supervisor tests run. Tasks write to an outside ledger: one line a start, one an end."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from dueq import Backoff, Dueq, current

app = Dueq()


def _note(event: str) -> None:
    task = current()
    line = f"{event} {task.id} {time.time_ns() // 1000} {task.due_us} {task.token} {task.attempt} {os.getpid()}\n"
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, line.encode())
    os.close(ledger)


@app.task()
def nap(seconds: float) -> None:
    """Sleep."""
    _note("start")
    time.sleep(seconds)
    _note("end")


@app.task(retries=1, backoff=Backoff(first=0.05, most=0.05))
def fail() -> None:
    """Raise, always."""
    _note("start")
    raise RuntimeError("on purpose")


def _wait_for_sign() -> None:
    """Until the test says so."""
    while not Path(os.environ["LEDGER"] + ".go").exists():
        time.sleep(0.01)


@app.task(retries=1, backoff=Backoff(first=0.05, most=0.05))
def late_failure() -> None:
    """Raise, when told to."""
    _note("start")
    _wait_for_sign()
    raise RuntimeError("on purpose")


@app.task()
def late_chain() -> None:
    """Schedule a task, when told to."""
    _note("start")
    _wait_for_sign()
    chain.after(0)(0)
    _note("end")


@app.task()
def chain(hops: int) -> None:
    """Schedule the next of a chain of tasks, from inside a task."""
    _note("start")
    if hops:
        chain.after(0.01)(hops - 1)
    _note("end")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@app.task(retries=0)
def odd(how: str) -> None:
    """End in an unusual way."""
    _note("start")
    if how == "exit":
        os._exit(0)
    errors = {
        "cancelled": asyncio.CancelledError(),
        "interrupt": KeyboardInterrupt(),
        "unprintable": Unprintable(),
        "surrogate": ValueError("\udc80"),
        "huge": ValueError("x" * 100_000),
    }
    raise errors[how]


@app.task(queue="side")
def aside() -> None:
    """Work of another queue."""
    _note("start")
    _note("end")
