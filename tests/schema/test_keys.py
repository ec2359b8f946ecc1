"""Key names."""

from __future__ import annotations

import re

import pytest

from dueq.core.config import check_name
from dueq.core.errors import ConfigurationError
from dueq.core.schema.keys import Keys, lua_names


@pytest.mark.parametrize("name", ["", "a:b", "a b", "{a}", "é", "x" * 65, "a\n", "a|b", "*"])
def test_no_names(name: str) -> None:
    with pytest.raises(ConfigurationError, match="not allowed"):
        check_name("queue", name)
    with pytest.raises(ConfigurationError):
        Keys(name)


def test_all_keys_are_in_one_slot_and_apart() -> None:
    keys = Keys("n-1")
    every = [*keys.singles(), *keys.of_queue("q"), *keys.of_queue("q2"), keys.of("held", "w"), *keys.records()]
    assert len(set(every)) == len(every)
    assert {re.sub(r"^dueq:\{(.*?)\}:.*$", r"\1", key) for key in every} == {"n-1"}


def test_no_queue_can_pose_as_something_else() -> None:
    keys = Keys("n")
    taken = {*keys.singles(), *keys.records()}
    assert not taken & {key for name in ["meta", "token", "r", "wake", "000"] for key in keys.of_queue(name)}


def test_a_record_s_hash_is_one_of_those_listed() -> None:
    keys = Keys("n")
    assert len(list(keys.records())) == 4096
    assert {keys.record(f"id{number}") for number in range(500)} <= set(keys.records())


def test_scripts_know_every_name() -> None:
    keys, text = Keys("n"), lua_names()
    for key in [*keys.singles(), *keys.of_queue("")]:
        assert f"'{key.removeprefix(keys.prefix)}'" in text
