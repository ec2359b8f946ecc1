"""Tasks that harm the process that runs them, or would harm it if it let them: forks, failures, signals, threads.

``tests/supervisor/test_hurting.py`` says what must happen after each. Tasks write their findings to a file beside the
ledger, one JSON object a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NoReturn

from dueq import Backoff, Dueq, current

app = Dueq()
SOON = Backoff(first=0.05, factor=1, most=0.05)
before_all = threading.Event()
older: list[str] = []


def say(**found: Any) -> None:
    """Write findings down."""
    line = json.dumps({"id": current().id, "pid": os.getpid(), **found}) + "\n"
    fd = os.open(os.environ["LEDGER"] + ".said", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
    os.close(fd)


@app.task(retries=0)
def plain() -> None:
    """Only record the process that runs it."""
    say()


# -- children


def square(x: int) -> int:
    """Run by the children of pools."""
    return x * x


@app.task(retries=0, soft_timeout=60)
def pools(method: str, times: int) -> None:
    """Start and end pools of children."""
    for _ in range(times):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, range(8)) == [x * x for x in range(8)]


@app.task(retries=0, soft_timeout=60)
def pool_left_early(method: str) -> None:
    """Leave a pool in the middle of its work."""
    with multiprocessing.get_context(method).Pool(1) as pool:
        pool.apply_async(time.sleep, (25,)).get(timeout=0.5)


@app.task(retries=0)
def terminated() -> None:
    """Terminate a child, as multiprocessing does it."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(2)
    say(exitcode=child.exitcode)


class Ends(Exception):
    """Raised in a fork."""


def _fork() -> int:
    return os.fork()


@app.task(retries=0)
def forks(how: str) -> None:
    """Fork, and let the child come back into the worker in one of many ways."""
    if how == "thread":
        thread = threading.Thread(target=_fork_in_a_thread)
        thread.start()
        thread.join()
        return
    if how == "pty":
        pid, terminal = pty.fork()
    else:
        pid, terminal = _fork(), -1
    if pid == 0:
        print(f"printed by a fork that ends by {how}")
        match how:
            case "exit":
                sys.exit(3)
            case "raise":
                raise Ends
            case "base":
                raise SystemExit("text")
            case "sour":
                raise Sour
            case _:
                return
    if terminal >= 0:
        while _read(terminal):
            pass
    _, status = os.waitpid(pid, 0)
    say(status=os.waitstatus_to_exitcode(status), title_of_child=None)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1024)
    except OSError:  # the other end is closed
        return b""


def _fork_in_a_thread() -> None:
    pid = os.fork()
    if pid == 0:
        return  # from the only thread of the fork
    _, status = os.waitpid(pid, 0)
    say_in_thread(status=os.waitstatus_to_exitcode(status))


def say_in_thread(**found: Any) -> None:
    """Write findings from a thread of the task, where ``current`` works, too."""
    say(**found)


def _handled() -> dict[str, Any]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM)
    kinds = {signal.SIG_DFL: "default", signal.SIG_IGN: "ignored", signal.default_int_handler: "interrupt"}
    handlers = {number.name: kinds.get(signal.getsignal(number), "other") for number in numbers}
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    return {"handlers": handlers, "wakeup": signal.set_wakeup_fd(-1), "blocked": blocked}


def _sockets() -> int:
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is gone by now
            found += str(each.readlink()).startswith("socket:")
    return found


@app.task(retries=0, soft_timeout=30)
def looks_like() -> None:
    """Record what a fork has of the worker: its signals, its title, its connections."""
    sockets = _sockets()
    pid = os.fork()
    if pid == 0:
        title = Path("/proc/self/cmdline").read_bytes().decode().strip("\0")
        say(title=title, sockets=_sockets(), of_worker=sockets, **_handled())
        os._exit(0)
    os.waitpid(pid, 0)


@app.task(retries=0)
def preexec() -> None:
    """Start a program by a fork that runs Python code first."""
    done = subprocess.run(["sh", "-c", "kill -TERM $$"], preexec_fn=os.getpid, check=False)
    say(status=done.returncode)


@app.task(retries=0)
def left_behind(daemon: bool) -> None:
    """Leave a child."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=daemon)
    child.start()
    say(child=child.pid)


@app.task(retries=0)
def busy_child() -> None:
    """Have a child while it runs."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
    child.start()
    say(child=child.pid)
    time.sleep(600)


# -- ways to fail


class Sour(Exception):
    """Raises SystemExit when its text is read."""

    def __str__(self) -> str:
        raise SystemExit(3)


class _Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__module__"):
            raise SystemExit(4)
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=_Meta):
    """Its class raises SystemExit when its name is read."""


class _Text(str):
    __slots__ = ()

    def __format__(self, spec: str) -> str:
        raise SystemExit(5)

    def encode(self, *args: Any) -> NoReturn:
        raise SystemExit(6)


class Spiked(Exception):
    """Its text is a str with harmful methods."""

    def __str__(self) -> str:
        return _Text("spikes")


class _Notes:
    def __iter__(self) -> NoReturn:
        raise SystemExit(7)

    __repr__ = __str__ = __iter__


class Noted(Exception):
    """Raises SystemExit when its notes are shown."""

    __notes__ = _Notes()  # type: ignore[assignment]


ERRORS: dict[str, type[Exception]] = {"sour": Sour, "nameless": Nameless, "spiked": Spiked, "noted": Noted}


@app.task(retries=1, backoff=SOON)
def hostile(which: str) -> None:
    """Fail with an exception that cannot be shown."""
    say()
    raise ERRORS[which]


class Broken(Backoff):
    """Returns no usable delay, in many ways."""

    answers: dict[int, Any] = {}  # noqa: RUF012  # by the number of the retry

    def delay(self, retries_used: int, draw: float | None = None) -> float:
        answer = self.answers[retries_used]
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]


NONSENSE = [float("nan"), None, -5.0, float("inf"), "3", True, 10**400, RuntimeError("no"), SystemExit(3)]
for _number, _nonsense in enumerate(NONSENSE):
    Broken.answers[_number] = _nonsense


@app.task(retries=1, backoff=Broken())
def broken_backoff() -> None:
    """Fail, with a backoff that returns no usable delay."""
    say()
    raise ValueError("x")


@app.task(retries=0)
def closes(streams: bool) -> None:
    """Close the standard streams, or their descriptors."""
    if streams:
        sys.stderr.close()
        sys.stdout.close()
    else:
        for fd in (0, 1, 2):
            os.close(fd)


@app.task(retries=0)
def writes() -> None:
    """Write to streams that another task has closed."""
    print("still heard")
    print("still heard", file=sys.stderr, flush=True)
    say(next=os.open(os.devnull, os.O_RDONLY))


@app.task(retries=0)
def fails() -> None:
    """Fail in an ordinary way."""
    raise ValueError("boom")


# -- what never runs


async def _never() -> None: ...


async def _never_either() -> AsyncIterator[int]:
    yield 1


def _nor_that() -> Iterator[int]:
    yield 1


REFUSED: dict[str, Any] = {
    "async def": lambda: Dueq().task()(_never),
    "an asynchronous generator": lambda: Dueq().task()(_never_either),
    "a generator": lambda: Dueq().task()(_nor_that),
    "a number as backoff": lambda: Dueq().task(backoff=5)(square),  # type: ignore[call-overload]
    "a backoff of nan": lambda: Dueq().task(backoff=Backoff(1, 2, float("nan")))(square),
    "retries as text": lambda: Dueq().task(retries="3")(square),  # type: ignore[call-overload]
    "no function": lambda: Dueq().task()(None),  # type: ignore[arg-type]
}
"""Definitions that cannot work, by what is wrong with them."""


class _Awaitable:
    def __await__(self) -> Iterator[Any]:
        return iter(())


@app.task(retries=3)
def returns(what: str) -> object:
    """Return something that is not run yet, or a plain value."""
    made = {"coroutine": _never, "async generator": _never_either, "generator": _nor_that, "awaitable": _Awaitable}
    return made[what]() if what in made else what


@app.task(retries=3)
def remind(user_id: int, text: str, *, urgent: bool = False) -> None:
    """Take arguments."""
    if text == "inside":
        int(None)  # type: ignore[call-overload]
    say()


# -- what a task does to its process


@app.task(retries=0)
def takes_the_signals() -> None:
    """Handle SIGTERM in an event loop, which leaves neither its handler nor a wake-up descriptor."""

    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)

    asyncio.run(main())


@app.task(retries=0)
def ruins_the_signals() -> None:
    """Set every signal that matters, block them all, and leave an alarm behind."""
    for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGALRM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@app.task(retries=0)
def sleeps_past_it() -> None:
    """Sleep past an alarm that another task has set, and read a child's exit status."""
    time.sleep(0.5)
    say(status=subprocess.run(["sh", "-c", "exit 7"], check=False).returncode)


@app.task(retries=0, soft_timeout=0.5)
def times_out() -> None:
    """Take too long."""
    time.sleep(20)


@app.task(retries=0)
def naps_unless_it_ran_before() -> None:
    if current().attempt == 1:
        time.sleep(20)


@app.task(retries=0)
def swallows_sigterm() -> None:
    """Handle SIGTERM itself, while the worker is asked to stop."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    say()
    time.sleep(1.5)


@app.task(retries=0)
def programs(number: int) -> None:
    """Start a program and send it a signal."""
    child = subprocess.Popen(["sleep", "30"])
    child.send_signal(number)
    try:
        say(status=child.wait(1))
    except subprocess.TimeoutExpired:
        child.kill()
        say(status=None)


@app.task(retries=0)
def program_that_finishes() -> None:
    """Run a program, and record its begin and its exit status."""
    child = subprocess.Popen(["sh", "-c", "read line; sleep 1.5; exit 9"])  # there is nothing to read
    say(group=os.getpgid(0), session=os.getsid(0))
    say(status=child.wait())


@app.task(retries=0)
def leaves_a_thread() -> None:
    """Leave a thread that Python would wait for."""
    threading.Thread(target=time.sleep, args=(600,), name="lazy").start()


@app.task(retries=0)
def leaves_a_fast_thread(seconds: float) -> None:
    """Leave a thread that ends soon, and records that."""

    def work(task_id: str) -> None:
        time.sleep(seconds)
        Path(os.environ["LEDGER"] + ".thread").write_text(task_id)

    threading.Thread(target=work, args=(current().id,)).start()


def _ask(said: list[str]) -> None:
    try:
        said.append(current().id)
    except Exception as error:  # noqa: BLE001  # the test wants to see the error
        said.append(str(error))


@app.task(retries=0)
def asks_in_a_thread() -> None:
    """Ask for the task in a thread."""
    said: list[str] = []
    thread = threading.Thread(target=_ask, args=(said,))
    thread.start()
    thread.join()
    say(said=said[0])


@app.task(retries=0)
def starts_one_that_asks_later() -> None:
    """Start a thread that asks when another task runs."""

    def later() -> None:
        before_all.wait(60)
        _ask(older)

    threading.Thread(target=later, daemon=True, name="older").start()


@app.task(retries=0)
def lets_it_ask() -> None:
    """Let that thread ask."""
    before_all.set()
    while not older:
        time.sleep(0.01)
    say(said=older[0])
