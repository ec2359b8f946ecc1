"""A child that must end because of a task, when the task then ends after all."""

from __future__ import annotations

import signal

import pytest

from dueq.core.supervisor.slot import Member
from dueq.core.telemetry.counters import Counters


class Child:
    """Takes note of its signals."""

    def __init__(self) -> None:
        self.role, self.name, self.pid, self.sentinel = "worker", "w", 1, 0
        self.counters = Counters(1 << 12)
        self.counters.state = "ready"
        self.got: list[signal.Signals] = []

    def exit_code(self) -> int | None:
        return None

    def send(self, number: signal.Signals) -> None:
        self.got.append(number)

    def stacks(self, *, over: bool = False) -> str:
        return ""

    def first_words(self) -> str:
        return ""

    def close(self) -> None:
        self.counters.close()

    def abandon(self) -> None:
        self.counters.close()


@pytest.fixture
def member() -> Member:
    child = Child()
    child.counters.begin(7, 1.0)
    member = Member(child, 0.0)
    steps = ((0.0, signal.SIGUSR1), (1.0, signal.SIGTERM), (2.0, signal.SIGKILL))
    member.end("hung", "was hung", *steps, blame=True, token=7)
    return member


def signals(member: Member, now: float) -> list[signal.Signals]:
    assert isinstance(member.child, Child)
    member.spare()
    member.send_what_is_due(now)
    return member.child.got


def test_it_is_killed_if_the_task_goes_on(member: Member) -> None:
    assert signals(member, 2.0) == [signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL]
    assert member.ending is not None
    assert member.ending.blame


def test_it_goes_on_if_the_task_ends_before_it_is_told_to_stop(member: Member) -> None:
    signals(member, 0.5)
    member.child.counters.begin(8, None)
    assert signals(member, 5.0) == [signal.SIGUSR1]
    assert member.ending is None
    assert member.watched


def test_it_stops_in_order_if_the_task_ends_after_that(member: Member) -> None:
    signals(member, 1.5)
    member.child.counters.begin(8, None)
    assert signals(member, 1e9) == [signal.SIGUSR1, signal.SIGTERM]
    assert member.ending is not None
    assert not member.ending.blame
    assert member.watched, "the next task may hang, too"


def test_what_stands_still_without_a_task_is_not_spared(member: Member) -> None:
    member.end("hung", "its loop stood still", (0.0, signal.SIGTERM), (1.0, signal.SIGKILL))
    member.child.counters.begin(8, None)
    assert signals(member, 1.0) == [signal.SIGTERM, signal.SIGKILL]
