"""Asking a loop to end."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from dueq.core.stop import Stop


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
    assert select.select([stop], (), (), 0)[0]
    stop.forget_wakeups()
    assert not select.select([stop], (), (), 0)[0]


def test_a_request_while_forgetting_is_not_forgotten(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.read

    def signalled(fd: int, size: int) -> bytes:
        stop.request()  # the handler runs just before the read
        return read(fd, size)

    monkeypatch.setattr(os, "read", signalled)
    stop.forget_wakeups()
    assert select.select([stop], (), (), 0)[0]
