"""Stacks of a real process, also of one that cannot run any Python code."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import multiprocess
import pytest
from support.waiting import wait_until

from dueq.core.telemetry.stacks import StackFile, one_line

_spawn = multiprocess.get_context("spawn")


def sleep_in_a_nap(stacks: StackFile, ready: Any) -> None:
    stacks.write_on_signal()
    ready.set()

    def nap() -> None:
        time.sleep(60)

    thread = threading.Thread(target=nap, daemon=True)
    thread.start()
    thread.join()


def match_for_ever(stacks: StackFile, ready: Any) -> None:
    """C code that keeps the interpreter to itself."""
    stacks.write_on_signal()
    ready.set()
    re.match(r"(a|a)*b", "a" * 200)


@pytest.fixture
def stacks() -> Iterator[StackFile]:
    stacks = StackFile()
    yield stacks
    stacks.close()


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        (
            sleep_in_a_nap,
            [r"main thread: .*join \(.*sleep_in_a_nap \(.*test_stacks\.py:\d+\)", r"thread [0-9a-f]+: nap "],
        ),
        (match_for_ever, [r"main thread: match \(.*re.*\) < match_for_ever \(.*test_stacks\.py:\d+\)"]),
    ],
)
def test_a_process_tells_what_it_does_whatever_that_is(stacks: StackFile, main: object, expected: list[str]) -> None:
    ready = _spawn.Event()
    process = _spawn.Process(target=main, args=(stacks, ready))
    process.start()
    try:
        found: list[str] = []

        def told() -> bool:
            os.kill(process.pid, signal.SIGUSR1)
            time.sleep(0.15)  # longer than the quiet that a read wants to see
            found.append(stacks.read())
            return all(re.search(pattern, found[-1]) for pattern in expected)

        assert ready.wait(10)
        wait_until(told, 10, what=str(found))
        assert "\n" not in found[-1]
        assert stacks.read() == "", "told once"
        assert process.is_alive()
    finally:
        process.kill()
        process.join()


def test_a_process_tells_what_it_does_itself(stacks: StackFile) -> None:
    stacks.write()
    assert "test_a_process_tells_what_it_does_itself" in stacks.read(over=True)
    assert stacks.read(over=True) == ""


def test_what_may_be_half_written_is_left_until_it_is_quiet(stacks: StackFile) -> None:
    stacks.write()
    assert stacks.read() == ""
    wait_until(stacks.read, 5)


def test_nothing_piles_up(stacks: StackFile) -> None:
    for _ in range(300):
        stacks.write()
        assert stacks.read(over=True)
    assert os.fstat(stacks._fd).st_size == 0


def test_a_process_signalled_over_and_over_does_not_flood_the_log(stacks: StackFile) -> None:
    for _ in range(1000):
        stacks.write()
    assert 0 < len(stacks.read(over=True)) < 100_000


def test_stacks_as_one_line() -> None:
    text = (
        "Thread 0x00007f3f (most recent call first):\n"
        '  File "/lib/threading.py", line 327 in wait\n'
        '  File "/lib/pulse.py", line 26 in _run\n'
        "\n"
        "Current thread 0x00007f40 (most recent call first):\n"
        '  File "/my app/shop.py", line 7 in slow\n'
        "\n"
        "Thread 0x00007f41 (most recent call first):\n"
        "  <no Python frame>\n"
    )
    assert one_line(text) == (
        "thread 00007f3f: wait (/lib/threading.py:327) < _run (/lib/pulse.py:26); "
        "main thread: slow (/my app/shop.py:7); thread 00007f41: no Python code"
    )
    assert one_line("") == ""
