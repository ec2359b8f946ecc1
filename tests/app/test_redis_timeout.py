"""A hanging Redis delays a producer by no more than its time-out; the error says what is known."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.frozen import frozen
from support.servers import Server, running

from dueq import Dueq
from dueq.core.errors import ConfigurationError, ServerRefused, ServerUnavailable

LIMIT_S = 0.1
LONG_S = 8.0  # very much longer, and a fifth of what it was: no test needs a quiet machine
NEVER_S = 600.0


@pytest.fixture
def own_server(server: Server, tmp_path: Path) -> Iterator[str]:
    with running(server, tmp_path) as url:
        yield url


@contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONG_S


CALLS: dict[str, Callable[[Dueq, float | None], object]] = {
    "schedule": lambda app, limit: app.schedule_task(0, "x", id="a", redis_timeout=limit),
    "after": lambda app, limit: app.task(name="f")(lambda: None).after(5, id="a", redis_timeout=limit)(),
    "at": lambda app, limit: app.task(name="g")(lambda: None).at(5, id="a", redis_timeout=limit)(),
    "many": lambda app, limit: app.schedule_many(
        [app.task(name="h")(lambda: None).call_after(5, id="a")()], redis_timeout=limit
    ),
    "cancel": lambda app, limit: app.cancel("a", redis_timeout=limit),
    "reschedule": lambda app, limit: app.reschedule("a", after=60, redis_timeout=limit),
}


def test_every_call_ends_in_time(own_server: str, strategy_name: str) -> None:
    fresh = [Dueq(own_server, strategy=strategy_name, redis_timeout=LIMIT_S) for _ in CALLS]
    warm = Dueq(own_server, strategy=strategy_name, redis_timeout=NEVER_S)
    handle = warm.schedule_task(4e9, "x", id="a")
    with frozen(own_server):
        for app, call in zip(fresh, CALLS.values(), strict=True):
            with soon(), pytest.raises(ServerUnavailable) as caught:
                call(app, None)
            assert list(caught.value.ids) == ["a"]
        for call in CALLS.values():
            with soon(), pytest.raises(ServerUnavailable) as caught:
                call(warm, LIMIT_S)
            assert list(caught.value.ids) == ["a"]
        for again in (handle.cancel, lambda **limit: handle.reschedule(after=5, **limit)):
            with soon(), pytest.raises(ServerUnavailable):
                again(redis_timeout=LIMIT_S)
    assert warm.schedule_task(4e9, "x", id="a", redis_timeout=None).created is False
    assert {app.schedule_task(4e9, "x", id="a", redis_timeout=NEVER_S).created for app in fresh} == {False}
    assert warm.cancel("a")


def test_many_threads_that_wait_for_one_connection(own_server: str) -> None:
    app = Dueq(own_server, redis_timeout=LIMIT_S)
    ended: list[float] = []

    def ask() -> None:
        with pytest.raises(ServerUnavailable):
            app.schedule_task(0, "x")
        ended.append(time.monotonic())

    threads = [threading.Thread(target=ask) for _ in range(40)]
    with frozen(own_server), soon():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ended) == len(threads)


@pytest.mark.parametrize("strategy_name", ["lua", "watch"])  # one a store
def test_of_many_the_error_says_which(own_server: str, strategy_name: str) -> None:
    app = Dueq(own_server, strategy=strategy_name)
    task = app.task(name="f")(lambda n: None)
    calls = [task.call_after(3600, id=f"t{n}")(n) for n in range(3500)]
    app.schedule_many(calls[:1])  # connected
    store = app._connected().reached().store
    schedule, trips = store.schedule, list[int]()

    def schedule_until(tasks: Any) -> Any:
        trips.append(len(tasks))
        if len(trips) < 3:
            return schedule(tasks)
        with frozen(own_server):
            return schedule(tasks)

    store.schedule = schedule_until  # type: ignore[method-assign]
    with pytest.raises(ServerUnavailable) as caught:
        app.schedule_many(calls, redis_timeout=2)
    error = caught.value
    assert trips == [1000, 1000, 1000]
    assert [handle.id for handle in error.handles] == [f"t{n}" for n in range(2000)]
    assert list(error.ids) == [f"t{n}" for n in range(3500)]
    assert "2,000 of 3,500 tasks are scheduled" in str(error)
    assert "of the 1,000 after them" in str(error)
    store.schedule = schedule  # type: ignore[method-assign]
    again = app.schedule_many(calls, redis_timeout=60)
    assert {handle.state for handle in again} == {"scheduled"}
    assert sum(handle.created for handle in again[2000:]) >= 500


class Mute:
    """Takes connections, and answers as it likes."""

    def __init__(self, answer: bytes = b"", every_s: float = 0.05, backlog: int = 50) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self._answer, self._every_s = answer, every_s
        self.url = f"redis://127.0.0.1:{self._socket.getsockname()[1]}"
        self._stop = threading.Event()
        self._links: list[socket.socket] = []
        if answer:
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        self._socket.settimeout(0.1)
        while not self._stop.is_set():
            try:
                link, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._links.append(link)
            threading.Thread(target=self._trickle, args=(link,), daemon=True).start()

    def _trickle(self, link: socket.socket) -> None:
        while not self._stop.wait(self._every_s):
            try:
                link.sendall(self._answer)
            except OSError:
                return

    def __enter__(self) -> Mute:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for link in (*self._links, self._socket):
            link.close()


@pytest.mark.parametrize("login", ["", ":password@"])
@pytest.mark.parametrize("server", [Mute, lambda: Mute(b"$"), lambda: Mute(backlog=0)], ids=["mute", "slow", "full"])
def test_whatever_takes_the_time(server: Callable[[], Mute], login: str) -> None:
    with Mute() if server is Mute else server() as mute:
        fillers = []
        for _ in range(4):  # of its backlog, if that is short
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(mute._socket.getsockname())
            fillers.append(filler)
        app = Dueq(mute.url.replace("://", f"://{login}"), redis_timeout=LIMIT_S)
        with soon(), pytest.raises((ServerUnavailable, ServerRefused)):
            app.schedule_task(0, 1)
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("seconds", [0, -1, "5", None, float("nan"), float("inf"), True])
def test_no_limits(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="redis_timeout"):
        Dueq(redis_timeout=seconds)
    if seconds is not None:
        with pytest.raises(ConfigurationError, match="redis_timeout"):
            Dueq("redis://127.0.0.1:1/0").cancel("a", redis_timeout=seconds)
