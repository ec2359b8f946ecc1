"""Scripts get the value of each name that Python has; a text with older names gets today's functions."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from dueq.core.schema.bounds import MOST_TASKS
from dueq.core.schema.lua_names import written_out
from dueq.core.schema.states import State


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("if state == State.HELD then", "if state == 'H' then"),
        ("'^1|' .. State.SCHEDULED .. '|(%d+)'", "'^1|S|(%d+)'"),
        ("'1|' .. State.DEAD .. body", "'1|' .. 'D' .. body"),
        ("'(' .. State.ANY .. ')'", "'([SHLUD])'"),
        ("math.min(n, bounds.MOST_TASKS)", f"math.min(n, {MOST_TASKS})"),
        ("ring_workers(queue, 1) ring_dispatcher()", "wake_workers(queue, 1) wake_dispatcher()"),
        ("local State, string_workers = {}, 1", "local State, string_workers = {}, 1"),
    ],
)
def test_names_become_values(text: str, written: str) -> None:
    assert written_out(text) == written


@pytest.mark.parametrize("name", ["State.GONE", "bounds.MOST_PATIENCE"])
def test_a_name_that_nobody_gave_is_an_error(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        written_out(f"return {name}")


def test_no_script_says_a_letter_of_its_own() -> None:
    letters = "".join(State)
    for package in ("core.schema", "core.store", "core.store.scripted", "strategies", "strategies.keyspace"):
        for file in files(f"dueq.{package}").iterdir():
            if file.name.endswith(".lua"):
                code = re.sub(r"--.*", "", file.read_text("utf-8"))
                assert not re.search(rf"'[{letters}]'|1\|[{letters}]\||\[{letters}\]", code), file.name
