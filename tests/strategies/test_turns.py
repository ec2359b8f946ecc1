"""A batch is shared out over queues in turn."""

from __future__ import annotations

import pytest

from dueq.strategies.due_reader import Turns


@pytest.mark.parametrize(("queues", "limit"), [(1, 1), (3, 1), (121, 50), (50, 50), (7, 5), (300, 64)])
def test_of_more_queues_than_a_batch_has_places_each_has_its_turn(queues: int, limit: int) -> None:
    turns, waiting = Turns(), {f"q{number}": 1000 for number in range(queues)}
    rounds = -(-queues // limit)
    for _ in range(3):
        served = [name for _ in range(rounds) for name, share in turns.shares(limit, waiting).items() if share]
        assert set(served) == set(waiting)


def test_where_all_are_served_each_begins_in_turn() -> None:
    turns, waiting = Turns(), {"a": 9, "b": 9, "c": 9}
    assert {next(iter(turns.shares(4, waiting))) for _ in range(3)} == {"a", "b", "c"}


def test_what_one_does_not_need_goes_to_the_others() -> None:
    assert Turns().shares(10, {"a": 1, "b": 0, "c": 100}) == {"a": 1, "b": 0, "c": 9}
    assert Turns().shares(10, {}) == {}
