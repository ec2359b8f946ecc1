"""One table says what type each key has, and which keys never stop a step; names and scripts agree with it."""

from __future__ import annotations

import re
from importlib.resources import files

from dueq.core.schema import keys
from dueq.core.schema.key_types import FAMILIES, PLAIN

_ELSEWHERE = {"token", "rehearsed"}
"""Scripts make these anew by themselves (advance.lua, rehearse.lua)."""


def test_every_key_is_in_the_table() -> None:
    assert PLAIN.keys() == keys._PLAIN.keys() - {"probe"}
    assert FAMILIES.keys() == keys._PER_NAME.keys() - {"foreign"} | {"heads", "timer"}


def test_the_scripts_spare_the_same_keys() -> None:
    text = files("dueq.core.schema").joinpath("records.lua").read_text("utf-8")
    spared: set[str] = set()
    for function in re.split(r"^local function ", text, flags=re.MULTILINE):
        for variable in re.findall(r"\bif (?:.* or )?refused_by\((\w+)", function):
            named = re.search(rf"local {variable}\b[^\n]* = key_(\w+)\(", function)
            spared.add(named[1] if named else variable.removeprefix("key_"))
    table = PLAIN | FAMILIES
    assert spared == {name for name, holds in table.items() if holds.beside} - _ELSEWHERE
    assert {name for name, holds in table.items() if holds.counts and name in PLAIN} == set(
        re.findall(r"'HINCRBY', key_(\w+)\(", text)
    ) | {"stats"}
