"""docs/chaos.md describes every scenario and every key of the report; the table is put between its markers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dueq.chaos import markdown, report
from dueq.chaos.scenarios import SCENARIOS
from dueq.harness.markdown import put

PAGE = (Path(__file__).parents[2] / "docs" / "chaos.md").read_text()


def test_every_scenario_is_told() -> None:
    told = re.findall(r"^\| `([a-z-]+)` \| .+ \| .+ \|$", PAGE.partition("## What was measured")[0], re.MULTILINE)
    assert told == list(SCENARIOS)


def test_every_key_of_a_report_is_told() -> None:
    failed = report.failed(SCENARIOS["poison"], "lua", 1, RuntimeError("no"))
    keys = PAGE.partition("## Keys of the report")[2]
    for key in (*failed, *failed["checks"][0]):
        assert f"`{key}`" in keys, key


def test_the_table_takes_the_place_of_the_one_before() -> None:
    page = f"head\n{markdown.BEGIN}\nold\n{markdown.END}\ntail"
    once = put(page, "new", markdown.BEGIN, markdown.END)
    assert "old" not in once
    assert once.startswith("head\n")
    assert once.endswith("\ntail")
    assert put(once, "new", markdown.BEGIN, markdown.END) == once
    with pytest.raises(ValueError, match="has no line"):
        put("nothing", "new", markdown.BEGIN, markdown.END)


def test_a_table_says_what_was_not_met() -> None:
    bad = report.failed(SCENARIOS["poison"], "lua", 1, RuntimeError("it broke"))
    text = markdown.table([bad, {**bad, "scenario": "worker-kill", "strategy": "watch", "ok": True, "checks": []}])
    assert text.splitlines()[0] == "| scenario | `lua` | `watch` |"
    assert [line.split(" | ")[0] for line in text.splitlines()[2:4]] == ["| `worker-kill`", "| `poison`"]
    assert "**not met**" in text
    assert "it broke" in text
