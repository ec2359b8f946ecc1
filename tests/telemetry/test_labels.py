"""Label values of metrics: the first names up to a limit, and one value for the rest."""

from __future__ import annotations

from dueq.core.telemetry.labels import MOST, OTHER, Names
from dueq.core.telemetry.metrics import DEFINITIONS


def test_what_is_known_comes_first_and_the_rest_is_other() -> None:
    names = Names(["b", "a", "b"], most=3)
    assert [names.of(name) for name in ("z", "a", "y", "b", "z")] == ["z", "a", OTHER, "b", "z"]
    assert names.all() == ["b", "a", "z"]


def test_too_many_known_ones_are_cut_off() -> None:
    names = Names(str(number) for number in range(1000))
    assert (names.of("99"), names.of("100")) == ("99", OTHER)
    assert len(names.all()) == MOST


def test_what_can_be_foreseen_is_no_product_of_queues_and_tasks() -> None:
    queues = [f"q{number}" for number in range(5000)]
    tasks = {f"t{number}": f"q{number}" for number in range(5000)} | {"elsewhere": "unknown"}
    known = list(DEFINITIONS["dueq_task_duration_seconds"].known("lua", queues[:2], tasks))
    assert known == [("lua", "q0", "t0"), ("lua", "q1", "t1")]
