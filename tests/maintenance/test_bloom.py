"""The Bloom filter of an audit."""

from __future__ import annotations

from dueq.core.maintenance.bloom import BloomFilter


def test_what_was_seen_is_known_and_little_else() -> None:
    seen = BloomFilter()
    for at in range(0, 200_000, 1000):
        seen.add("ready q ", [f"task-{number}" for number in range(at, at + 1000)])
    assert all(f"ready q task-{number}" in seen for number in range(0, 200_000, 7))
    mistakes = sum(f"ready q task-{number}" in seen for number in range(200_000, 400_000))
    assert mistakes < 50  # about seven
    assert sum(f"dead q task-{number}" in seen for number in range(100_000)) < 50


def test_each_filter_makes_its_own_mistakes() -> None:
    ids = [f"task-{number}" for number in range(300_000)]
    wrong = []
    for _ in range(2):
        seen = BloomFilter()
        seen.add("", [f"other-{number}" for number in range(400_000)])
        wrong.append({task_id for task_id in ids if task_id in seen})
    assert wrong[0] != wrong[1]
    assert len(wrong[0] & wrong[1]) <= 1
