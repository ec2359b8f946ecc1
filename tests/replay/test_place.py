"""A program that gets a signal to end cleans up once, completely, and then ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.finalizing import PLACES, in_del

from dueq.harness.sandbox import temporary_directory, terminable, undisturbed

LONG_S = 20.0  # that it passes would fail the test


@contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)],
)
def test_the_first_signal_ends_and_those_after_it_are_ignored(
    number: signal.Signals, kind: type[BaseException]
) -> None:
    cleaned = []
    before = signal.getsignal(number)

    def told_again_while_cleaning_up() -> None:
        with terminable():
            try:
                signal.raise_signal(number)
            finally:
                for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.raise_signal(again)
                cleaned.append(True)

    with pytest.raises(kind):
        told_again_while_cleaning_up()
    assert cleaned
    assert signal.getsignal(number) is before


def test_what_was_ignored_already_is_still() -> None:
    with ignored(signal.SIGHUP), terminable(), undisturbed():
        signal.raise_signal(signal.SIGHUP)


def test_what_is_undisturbed_comes_to_its_end() -> None:
    done = []

    def told_in_the_middle() -> None:
        with terminable(), undisturbed():
            with undisturbed():
                signal.raise_signal(signal.SIGTERM)
                done.append("inner")
            done.append("outer")

    with pytest.raises(SystemExit):
        told_in_the_middle()
    assert done == ["inner", "outer"]


def test_the_directory_goes_although_a_signal_comes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    remove = shutil.rmtree

    def interrupted(path: str, *, ignore_errors: bool) -> None:
        signal.raise_signal(signal.SIGINT)
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr("shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), terminable(), temporary_directory() as directory:
        pass
    assert not directory.exists()


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_where_python_ignores_the_end_it_comes_again(
    number: signal.Signals, kind: type[BaseException], place: Callable[[Callable[[], object]], None]
) -> None:
    def told_in_a_bad_place() -> None:
        with terminable():
            place(lambda: signal.raise_signal(number))
            time.sleep(LONG_S)

    began = time.monotonic()
    with pytest.raises(kind):
        told_in_a_bad_place()
    assert time.monotonic() - began < LONG_S


def test_an_end_that_comes_again_just_before_a_blocking_call_ends_it() -> None:
    def told_where_one_ring_is_lost() -> None:
        with terminable():
            in_del(lambda: signal.raise_signal(signal.SIGINT))
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                signal.sigwait({signal.SIGINT})  # as Python does that has noted it, and not yet looked
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            time.sleep(LONG_S)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        told_where_one_ring_is_lost()
    assert time.monotonic() - began < LONG_S
