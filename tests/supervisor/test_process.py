"""Starting a child when the system has no room for one."""

from __future__ import annotations

import gc
import signal
import subprocess
from typing import Any

import psutil
import pytest

from dueq.core.config import RunOptions, Settings
from dueq.core.supervisor.child import Child
from dueq.core.worker.watch import WatchPage


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> list[set[signal.Signals]]:
    """What signals were held back at each attempt to start a process; all fail."""
    held: list[set[signal.Signals]] = []

    def refused(*args: Any, **options: Any) -> None:
        held.append({signal.Signals(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])})
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refused)
    return held


def test_nothing_is_left_of_a_child_that_could_not_be_started(no_room: list[set[signal.Signals]]) -> None:
    gc.collect()  # what other tests have forgotten
    files = psutil.Process().num_fds()
    for _ in range(10):
        with pytest.raises(OSError, match="temporarily unavailable"):
            Child("worker", "worker-1", Settings("redis://127.0.0.1:1"), RunOptions("app:app"), WatchPage())
    assert psutil.Process().num_fds() == files


def test_signals_that_would_end_a_beginner_are_held_back_just_for_its_start(no_room: list[set[signal.Signals]]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(OSError, match="temporarily unavailable"):
        Child("worker", "worker-1", Settings("redis://127.0.0.1:1"), RunOptions("app:app"), WatchPage())
    [held] = no_room
    assert {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1} <= held
    assert signal.SIGTERM not in held
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
