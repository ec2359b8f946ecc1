"""How many tasks a worker takes at once."""

from __future__ import annotations

from dueq.core.worker.prefetch import Prefetch


def after(*seconds: float, sizes: int = 10) -> int:
    """What is wanted in a backlog that never ends, once tasks took so long."""
    prefetch = Prefetch()
    for _ in range(sizes):
        prefetch.found(prefetch.want, prefetch.want)
    for each in seconds:
        prefetch.ran("f", each)
    return prefetch.want


def test_a_fixed_number_stays() -> None:
    prefetch = Prefetch(7)
    prefetch.found(7, 7)
    prefetch.found(0, 7)
    prefetch.ran("f", 60)
    assert prefetch.want == 7


def test_one_to_begin_with_and_more_as_long_as_there_are_more() -> None:
    prefetch, wanted = Prefetch(), []
    for _ in range(9):
        wanted.append(prefetch.want)
        prefetch.found(prefetch.want, prefetch.want)
    assert wanted == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    prefetch.found(3, 64)
    assert prefetch.want == 3
    prefetch.found(0, 3)
    assert prefetch.want == 1


def test_as_many_as_run_in_five_milliseconds() -> None:
    assert after(0.0) == 64
    assert after(0.000_4) == 12
    assert after(0.001) == 5
    assert after(0.006) == after(60) == 1


def test_a_long_one_counts_at_once_and_is_forgotten_slowly() -> None:
    assert after(*[0.000_01] * 50, 1.0) == 1
    assert after(1.0, *[0.000_01] * 10) == 1
    assert after(1.0, *[0.000_01] * 200) == 64


def test_only_what_is_known_to_be_short_may_have_others_wait_behind_it() -> None:
    prefetch = Prefetch()
    assert not prefetch.is_short("f")
    prefetch.ran("f", 0.001)
    prefetch.ran("g", 0.006)
    assert prefetch.is_short("f")
    assert not prefetch.is_short("g")
    for _ in range(10):
        prefetch.ran("g", 0.001)
    assert prefetch.is_short("g")
    assert Prefetch(3).is_short("f")
