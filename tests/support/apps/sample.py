"""The application that the supervisor tests run. Tasks write to an outside ledger: one line a start, one an end."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from dueq import Backoff, Bury, Dueq, RetryIn, Snooze, TaskTimeout, current

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


@app.task()
def fork_unseen() -> None:
    """Fork without Python's knowledge: the child holds all files and sockets of its worker, for a minute."""
    _note("start")
    pid = ctypes.CDLL(None).fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    Path(os.environ["LEDGER"] + ".child").write_text(str(pid))
    _note("end")


@app.task(expires=0.2)
def punctual(mark: str) -> None:
    """Note its header."""
    _note("start")
    Path(os.environ["LEDGER"] + f".{mark}").write_text(current().headers.get("trace", ""))
    _note("end")


@app.task(retries=1, retry_for=())
def decide() -> None:
    """Put itself off, then ask for a retry, then bury itself."""
    _note("start")
    match current().cause:
        case "":
            raise Snooze(after=0.05, reason="too early")
        case "snoozed":
            raise RetryIn(0.05, "busy")
    raise Bury("enough")


def _wait_for_sign() -> None:
    """Wait until the test gives a sign."""
    while not Path(os.environ["LEDGER"] + ".go").exists():
        time.sleep(0.01)


@app.task(retries=1, backoff=Backoff(first=0.05, most=0.05))
def late_failure() -> None:
    """Raise, once the test gives a sign."""
    _note("start")
    _wait_for_sign()
    raise RuntimeError("on purpose")


@app.task()
def late_chain() -> None:
    """Schedule a task, once the test gives a sign."""
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


@app.task(queue="side")
def nap_aside(seconds: float) -> None:
    """Sleep, in another queue."""
    _note("start")
    time.sleep(seconds)
    _note("end")


HARD_S = 0.6


@app.task(hard_timeout=HARD_S)
def overrun() -> None:
    """Take longer than allowed, and ignore everything but a kill."""
    _note("start")
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001, S112
            continue


@app.task()
def match_for_ever() -> None:
    """Keep the interpreter from running any other thread."""
    _note("start")
    re.match(r"(a|a)*b", "a" * 200)


@app.task(soft_timeout=0.2, retries=0)
def asked_to_end(heeds: bool) -> None:
    """Take longer than the soft timeout; fail with TaskTimeout if it heeds it, else finish all the same."""
    _note("start")
    try:
        time.sleep(60)
    except TaskTimeout:
        if not heeds:
            raise
    _note("end")


_leaked: list[bytearray] = []


@app.task()
def leak(mib: int) -> None:
    """Keep memory until the process ends."""
    _note("start")
    _leaked.append(bytearray(os.urandom(1 << 20)) * mib)
    _note("end")


@app.task()
def leave_orphans(count: int) -> None:
    """Start processes that outlive their parent for a moment."""
    _note("start")
    subprocess.run(["sh", "-c", f"for n in $(seq {count}); do sleep 0.5 >/dev/null 2>&1 & done"], check=True)
    _note("end")


def _outlive_all() -> None:
    """A daemon's life: its own session, its parent gone, all but the standard descriptors as they were."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            with Path(os.environ["LEDGER"] + ".survivors").open("a") as pids:
                pids.write(f"{os.getpid()}\n")
            time.sleep(60)
        os._exit(0)
    os.wait()


@app.task()
def leave_survivors() -> None:
    """Start what outlives this process and its supervisor, in each way that there is; at the first attempt only."""
    _note("start")
    if current().attempt == 1:
        _outlive_all()
        program = "import os, sys, time; os.write(1, f'{os.getpid()}\\n'.encode()); time.sleep(60)"
        with Path(os.environ["LEDGER"] + ".survivors").open("ab") as pids:
            for kept in (True, False):
                subprocess.Popen([sys.executable, "-c", program], close_fds=kept, start_new_session=True, stdout=pids)
            forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            forked.start()
            pids.write(f"{forked.pid}\n".encode())
        time.sleep(60)
    _note("end")


@app.task()
def nap_beside_a_fork(seconds: float) -> None:
    """Sleep, while a forked process has every file open that this worker has."""
    _note("start")
    pid = os.fork()
    if not pid:
        time.sleep(60)
        os._exit(0)
    with Path(os.environ["LEDGER"] + ".forks").open("a") as forks:
        forks.write(f"{pid}\n")
    time.sleep(seconds)
    _note("end")
