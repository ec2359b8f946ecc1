"""Requests to a loop to end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from dueq.core.process.stop import Inbox, Stop, WakeUp, readable


def _is_readable(end: WakeUp, seconds: float = 0) -> bool:
    return bool(readable([end.fileno()], seconds))


@pytest.fixture
def stop() -> Iterator[Stop]:
    stop = Stop()
    yield stop
    stop.close()


def test_a_request_ends_a_sleep(stop: Stop) -> None:
    threading.Timer(0.05, stop.request).start()
    began = time.monotonic()
    stop.sleep(10)
    assert time.monotonic() - began < 5
    assert stop.requested


def test_after_a_request_nothing_sleeps(stop: Stop) -> None:
    stop.request()
    stop.request()
    began = time.monotonic()
    stop.sleep(10)
    stop.forget_wakeups()
    stop.sleep(10)
    assert time.monotonic() - began < 5


def test_other_signals_end_one_sleep_only(stop: Stop) -> None:
    os.write(stop._writer, b"\x0a")  # as signal.set_wakeup_fd does
    assert _is_readable(stop)
    stop.forget_wakeups()
    assert not _is_readable(stop)


def test_a_request_while_forgetting_is_not_forgotten(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.read

    def signalled(fd: int, size: int) -> bytes:
        stop.request()  # the handler runs just before the read
        return read(fd, size)

    monkeypatch.setattr(os, "read", signalled)
    stop.forget_wakeups()
    assert _is_readable(stop)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    inbox = Inbox()
    inbox.catch(signal.SIGTERM, signal.SIGUSR1)
    yield inbox
    signal.set_wakeup_fd(-1)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    inbox.close()


def test_signals_come_in_in_their_order_and_end_waiting(inbox: Inbox) -> None:
    assert not _is_readable(inbox)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
        signal.raise_signal(number)
    assert _is_readable(inbox)
    assert list(inbox.take()) == [signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM]
    assert not inbox.waiting
    assert list(inbox.take()) == []
    inbox.forget_wakeups()
    assert not _is_readable(inbox)


def test_the_end_of_a_child_ends_waiting_and_is_no_message(inbox: Inbox) -> None:
    child = subprocess.Popen(["true"])
    assert _is_readable(inbox, 10)
    child.wait()
    assert not inbox.waiting


def test_very_many_wakeups_do_not_fill_it_up(inbox: Inbox) -> None:
    for _ in range(100_000):
        inbox.put(signal.SIGUSR1)
    assert len(list(inbox.take())) == 100_000
    inbox.forget_wakeups()
    assert not _is_readable(inbox)
