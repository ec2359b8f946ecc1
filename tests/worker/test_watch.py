"""Who looks while all workers sleep: one of a kind, as long as it does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import pytest

from dueq.core import clock
from dueq.core.clock import ServerClock
from dueq.core.store.values import Look
from dueq.core.worker import watch
from dueq.core.worker.watch import KeptWatch, WatchPage

NET_S = 30.0
SUPERVISOR = "supervisor.host.1.abc"
SERVER_AHEAD_US = 1_795_000_000_000_000


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def monotonic_ns(self) -> int:
        return round(self.seconds * 1e9)

    def server_us(self) -> int:
        return round(self.seconds * 1e6) + SERVER_AHEAD_US


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    now = Now()
    monkeypatch.setattr(watch, "time", now)
    monkeypatch.setattr(clock, "time", now)
    return now


class Sleeper(KeptWatch):
    """A worker of its own process, which sleeps, and shares a page with the others."""

    def __init__(self, now: Now, page: WatchPage, number: int, net: float) -> None:
        self.now, self.clock, self.asked = now, ServerClock(), list[tuple[float, Sequence[str]]]()
        self.clock.observe(now.server_us(), now.monotonic_ns(), now.monotonic_ns())
        super().__init__(page, f"worker.host.abc.{number}", SUPERVISOR, self.clock, net, lambda: None)
        self.quiet, self.takes_s = True, 0.0

    def sleeps(self) -> None:
        self.looked(self.now.server_us())
        self.begin()

    def look(self, workers: Sequence[str]) -> Look:
        sent = self.now.monotonic_ns()
        self.asked.append((self.now.seconds, workers))
        self.now.seconds += self.takes_s
        return Look(self.quiet, self.now.server_us(), sent, self.now.monotonic_ns())

    def sees_to_it(self) -> bool:
        return self.kept(self.look)


Join = Callable[..., Sleeper]


@pytest.fixture
def join(now: Now, monkeypatch: pytest.MonkeyPatch) -> Join:
    page = WatchPage()

    def join(number: int, *queues: str, net: float = NET_S, pid: int = 0) -> Sleeper:
        monkeypatch.setattr(os, "getpid", lambda: pid or number)
        one = Sleeper(now, page, number, net)
        one.serves(queues or ("q",), ["f"])
        return one

    return join


def test_one_looks_and_the_others_sleep_on(now: Now, join: Join) -> None:
    workers = [join(16 + n) for n in range(4)]
    for one in workers:
        one.sleeps()
    end = now.seconds + 600
    while now.seconds < end:
        now.seconds += min(one.rest() for one in workers) + 0.001
        assert all(one.sees_to_it() for one in workers)
    assert sum(bool(one.asked) for one in workers) == 1
    looks = sum(len(one.asked) for one in workers)
    assert 600 / NET_S <= looks <= 600 / NET_S + 3


def test_who_sleeps_briefly_never_looks(now: Now, join: Join) -> None:
    one = join(1)
    for _ in range(100):
        one.sleeps()
        assert NET_S - 1 <= one.rest() <= NET_S
        now.seconds += 20
        assert one.sees_to_it()
        one.end()
    assert not one.asked


@pytest.mark.parametrize("pid", range(15, 33))
def test_if_the_keeper_does_not_look_each_other_does_within_the_net(now: Now, join: Join, pid: int) -> None:
    keeper, other = join(1, pid=4_194_303), join(2, pid=pid)
    for one in (keeper, other):
        one.sleeps()
    now.seconds += NET_S / 2
    other.sleeps()
    now.seconds += keeper.rest()
    assert keeper.sees_to_it()
    looked = now.seconds
    assert NET_S - 1.01 <= other.rest() <= NET_S
    now.seconds += other.rest()
    assert other.sees_to_it()
    assert [at - looked <= NET_S for at, _ in other.asked] == [True]
    assert keeper.rest() > NET_S - 2, "it sleeps on when it comes back"


def test_one_that_may_have_missed_something_promises_nothing(now: Now, join: Join) -> None:
    one, other = join(1), join(2)
    for each in (one, other):
        each.sleeps()
    now.seconds += NET_S
    one.quiet = False
    assert not one.sees_to_it()
    assert not other.rest()


def test_a_look_that_fails_promises_nothing(now: Now, join: Join) -> None:
    def fails(_: Sequence[str]) -> Look:
        raise ConnectionError

    one, other = join(1), join(2)
    for each in (one, other):
        each.sleeps()
    now.seconds += NET_S
    with pytest.raises(ConnectionError):
        one.kept(fails)
    assert not one.rest()
    assert not other.rest()


def test_a_promise_counts_from_when_redis_was_asked(now: Now, join: Join) -> None:
    one, other = join(1), join(2)
    for each in (one, other):
        each.sleeps()
    now.seconds += NET_S
    one.takes_s = 4.5
    asked = now.seconds
    assert one.sees_to_it()
    assert now.seconds + one.rest() <= asked + NET_S
    assert other.sees_to_it()
    assert not other.asked
    assert now.seconds + other.rest() <= asked + NET_S


def test_an_own_look_counts_from_when_redis_did_the_step(now: Now, join: Join) -> None:
    one = join(1)
    then = now.server_us()
    now.seconds += 3
    one.looked(then)
    one.begin()
    assert one.rest() <= NET_S - 3


def test_a_later_promise_is_not_replaced_by_an_earlier_one(now: Now, join: Join) -> None:
    one, other, third = join(1), join(2), join(3)
    for each in (one, other, third):
        each.sleeps()
    now.seconds += NET_S

    def overtaken(_: Sequence[str]) -> Look:
        """The other looks while the reply of the first stalls."""
        sent = now.monotonic_ns()
        now.seconds += 3
        assert other.sees_to_it()
        now.seconds += 1
        return Look(True, now.server_us(), sent, now.monotonic_ns())

    assert one.kept(overtaken)
    assert third.rest() > NET_S - 1 - 1.01
    now.seconds += other.rest()
    assert other.sees_to_it(), "it is still its turn"
    assert len(other.asked) == 2


def test_workers_of_other_queues_do_not_rely_on_each_other(now: Now, join: Join) -> None:
    one, other, third = workers = join(1, "a", "b"), join(2, "a"), join(3, "b", "a")
    for each in workers:
        each.sleeps()
    now.seconds += NET_S
    assert one.sees_to_it()
    assert not other.rest()
    assert third.rest(), "the order is no matter"
    assert other.sees_to_it()
    assert not third.rest()
    third.serves(("a",), ["f"])
    assert third.rest()
    third.serves(("a",), ["f", "g"])
    assert not third.rest()


def test_a_promise_of_two_kinds_at_once_goes_for_neither(now: Now, join: Join) -> None:
    one, other = join(1, "a"), join(2, "b")
    for each in (one, other):
        each.sleeps()
    now.seconds += NET_S
    assert one.sees_to_it()
    of_one = one._cells[1]
    assert other.sees_to_it()
    other._cells[1] = of_one  # both wrote at the same time
    now.seconds += NET_S - 2
    of_one = one._cells[1]
    assert not one._promised_s()
    assert not other._promised_s()


def test_a_look_is_for_all_that_sleep(now: Now, join: Join) -> None:
    one, _, third = workers = join(1, "a"), join(1023, "b"), join(7, "a")
    for each in workers:
        each.sleeps()
    third.end()
    now.seconds += NET_S
    assert one.sees_to_it()
    [(_, names)] = one.asked
    assert sorted(names) == ["worker.host.abc.1", "worker.host.abc.1023"]


def test_who_shares_a_place_with_another_looks_by_itself(now: Now, join: Join) -> None:
    one, other = join(1), join(1025)
    one.sleeps()
    other.sleeps()
    assert not one.rest()
    assert other.rest()
    assert one.sees_to_it() or one.asked
    assert one.asked
    assert one.asked[0][1] == ["worker.host.abc.1"]


def test_whatever_stands_in_the_page_nobody_sleeps_longer_than_the_net(now: Now, join: Join) -> None:
    one = join(1)
    one.sleeps()
    now.seconds += NET_S
    kind = one._kind & watch._mask(watch._SIGN_BITS)
    for until in (2**63 - 1, -(2**63), 0, round((now.seconds + 2 * NET_S) * 1000) << watch._SIGN_BITS | kind):
        one._cells[0], one._cells[1] = one._me, until
        assert not one.rest()
    assert one.sees_to_it()
    assert one.rest() == pytest.approx(NET_S - 2, abs=0.01)


def test_the_clock_of_a_sleeper_stays_as_exact_as_that_of_the_keeper(now: Now, join: Join) -> None:
    keeper, other = join(1), join(2)
    for each in (keeper, other):
        each.sleeps()
    keeper.takes_s = 0.0002
    for _ in range(30):
        now.seconds += min(each.rest() for each in (keeper, other))
        assert keeper.sees_to_it()
        assert other.sees_to_it()
        now.seconds += 0.5
        vague_us = other.clock.latest_us() - other.clock.earliest_us()
        assert vague_us <= 1500, "a trip, and a drift of half a minute"
        assert other.clock.earliest_us() <= now.server_us() <= other.clock.latest_us()
    assert not other.asked


def test_the_clock_is_one_for_all_processes_of_a_host() -> None:
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, str(time.monotonic_ns()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert abs(time.monotonic_ns() - int(os.read(reader, 64))) < 5e9
    os.close(reader)
    os.close(writer)
