"""Measured values are written in words."""

from __future__ import annotations

import pytest

from dueq.chaos.wording import spelled


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("as it is", "as it is"),
        ({"worker_lost": 3, "lease_expired": 1}, "worker_lost 3, lease_expired 1"),
        ({"host0": 2.0, "host1": 0.5}, "host0 2, host1 0.5"),
        ({}, "none"),
        ([], "none"),
        ([4711, 4712], "4711, 4712"),
        ({"a"}, "a"),
        (None, "none"),
        (True, "yes"),
        (0, "0"),
        (ValueError("no"), "ValueError: no"),
    ],
)
def test_no_reader_needs_to_know_python(value: object, words: str) -> None:
    assert spelled(value) == words
