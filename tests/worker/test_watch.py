"""Who looks while all workers sleep: one of a kind, as long as it does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from dueq.core.worker import watch
from dueq.core.worker.watch import KeptWatch, WatchPage

NET_S = 30.0


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def monotonic_ns(self) -> int:
        return round(self.seconds * 1e9)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    now = Now()
    monkeypatch.setattr(watch, "time", now)
    return now


@pytest.fixture
def join(now: Now, monkeypatch: pytest.MonkeyPatch) -> Callable[..., KeptWatch]:
    """Make a worker of its own process, which shares a page with the others."""
    page = WatchPage()

    def join(pid: int, *queues: str, net: float = NET_S) -> KeptWatch:
        monkeypatch.setattr(os, "getpid", lambda: pid)
        one = KeptWatch(page, net, lambda: None)
        one.serves(queues or ("q",), ["f"])
        return one

    return join


def never() -> bool:
    raise AssertionError("it need not look")


def test_one_looks_and_the_others_sleep_on(now: Now, join: Callable[..., KeptWatch]) -> None:
    keeper, *others = workers = [join(16 + n) for n in range(4)]
    for one in workers:
        one.begin()
    looks = 0
    end = now.seconds + 600
    while now.seconds < end:
        now.seconds += min(one.rest() for one in workers) + 0.001
        for one in others:
            assert one.kept(never)
        was_due = not keeper.rest()
        assert keeper.kept(lambda: True)
        looks += was_due
    assert 600 / NET_S <= looks <= 600 / NET_S + 3


@pytest.mark.parametrize("pid", range(15, 33))
def test_if_the_keeper_does_not_look_each_other_does_within_the_net(
    now: Now, join: Callable[..., KeptWatch], pid: int
) -> None:
    keeper, other = join(4_194_303), join(pid)
    keeper.begin()
    other.begin()
    began, asked = now.seconds, list[float]()
    assert NET_S - 2 < other.rest() <= NET_S

    def is_quiet() -> bool:
        asked.append(now.seconds - began)
        return True

    now.seconds += other.rest()
    assert other.kept(is_quiet)
    assert asked
    assert asked[0] <= NET_S
    assert keeper.rest() > NET_S - 2, "it sleeps on when it comes back"


def test_one_that_may_have_missed_something_looks_by_itself_for_a_while(
    now: Now, join: Callable[..., KeptWatch]
) -> None:
    one, other = join(1), join(2)
    one.begin()
    now.seconds += one.rest()
    shared = [one.shared, one.kept(lambda: False), one.shared]
    assert shared == [True, False, False]
    now.seconds += 2.0
    assert not other.rest(), "nobody has promised to look"
    now.seconds += 300
    assert one.shared


def test_a_look_that_fails_promises_nothing(now: Now, join: Callable[..., KeptWatch]) -> None:
    one, other = join(1), join(2)
    one.begin()
    now.seconds += one.rest()
    with pytest.raises(AssertionError):
        one.kept(never)
    now.seconds += 2.0
    assert not other.rest()


def test_workers_of_other_queues_do_not_rely_on_each_other(now: Now, join: Callable[..., KeptWatch]) -> None:
    one, other, third = join(1, "a", "b"), join(2, "a"), join(3, "b", "a")
    one.begin()
    assert not other.rest()
    assert third.rest(), "the order is no matter"
    other.begin()
    assert not one.rest()
    third.serves(("a",), ["f"])
    assert third.rest()
    third.serves(("a",), ["f", "g"])
    assert not third.rest()


def test_whatever_stands_in_the_page_nobody_sleeps_longer_than_the_net(
    now: Now, join: Callable[..., KeptWatch]
) -> None:
    one = join(1)
    one.begin()
    for until in (2**63 - 1, -(2**63), 0, round((now.seconds + 2 * NET_S) * 1e9)):
        one._cells[1] = until
        assert not one.rest()


def test_who_looks_very_often_does_so_alone(join: Callable[..., KeptWatch]) -> None:
    assert not join(1, net=4.9).shared
    assert join(1, net=5.0).shared


def test_the_clock_is_one_for_all_processes_of_a_host() -> None:
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, str(time.monotonic_ns()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert abs(time.monotonic_ns() - int(os.read(reader, 64))) < 5e9
    os.close(reader)
    os.close(writer)
