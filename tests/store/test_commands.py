"""The table of commands agrees with the source: it has what scripts call, and no command that is never sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dueq
from dueq import strategies
from dueq.core.store.permissions import EXAMPLES, needed

_SOURCE = Path(dueq.__file__).parent
_METHODS = {"DEL": "delete", "WATCH": "watch"}
_BY_REDIS_PY = {"DISCARD", "SCRIPT|LOAD", "PSUBSCRIBE"}
"""Written in another way where they are sent."""


def _texts(suffix: str) -> str:
    # neither the table itself nor what works on servers of its own
    left_out = {"commands.py", "acl.py"}
    files = [file for part in ("core", "strategies") for file in (_SOURCE / part).rglob(f"*{suffix}")]
    return "\n".join(file.read_text() for file in files if file.name not in left_out)


def test_what_scripts_call_is_in_the_table() -> None:
    called = set(re.findall(r"redis\.p?call\('([A-Z]+)'", _texts(".lua")))
    assert len(called) > 20
    known = {command for name in strategies.names() for command in needed(strategies.find(name), "scripted")}
    assert sorted(called - known) == []


@pytest.mark.parametrize("strategy", strategies.names())
def test_nothing_is_asked_for_that_is_not_sent(strategy: str) -> None:
    sources = _texts(".py") + _texts(".lua") + (_SOURCE / "admin" / "diagnosis.py").read_text()
    unused = [
        name
        for name in needed(strategies.find(strategy), "scripted") - _BY_REDIS_PY
        if not re.search(rf"""["']{name}["']|\.{_METHODS.get(name, name.lower())}\(""", sources)
    ]
    assert unused == []


def test_examples_are_of_commands_that_somebody_needs() -> None:
    known = {command for name in strategies.names() for command in needed(strategies.find(name), "scripted")}
    assert sorted(EXAMPLES.keys() - known) == []
