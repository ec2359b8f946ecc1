"""Every scenario under every strategy, in small: real processes, real faults, and the ledger decides.

The same in large is ``make chaos``; docs/chaos.md has its table.
"""

from __future__ import annotations

import re

import pytest

from dueq import strategies
from dueq.chaos.report import troubles
from dueq.chaos.runner import play, wanted
from dueq.chaos.scenarios import SCENARIOS

pytestmark = pytest.mark.processes

_AS_PYTHON_WRITES = re.compile(r"[\[{(]['\d\]})]|\b(True|False|None)\b|<\w+ object")
_TASKS = {"storm": 2000, "backlog": 4000, "host-loss": 120}
_DURATIONS = {
    "worker-kill": 3.0,
    "dispatcher-kill": 3.0,
    "host-loss": 3.0,
    "power-cut": 4.0,
}  # a kill a second, and a batch of each second to be caught with
_LONG = {"redis-failover"}


@pytest.mark.in_turn
@pytest.mark.timeout(180)
@pytest.mark.parametrize("strategy", strategies.names())
@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=[pytest.mark.first] * (name in _LONG)) for name in SCENARIOS]
)
def test_the_expectation_is_met(scenario: str, strategy: str) -> None:
    [one] = wanted(scenario, strategy, _TASKS.get(scenario, 40), _DURATIONS.get(scenario, 2.0), seed=1)
    run = play(one)
    assert run.report["ok"], "\n".join(troubles(run.report))
    assert run.marks, "no fault was injected"
    assert run.report["floor_ms"]["p50"] > 0, "the machine's own floor stands beside what is measured"
    words = [check["measured"] for check in run.report["checks"]] + run.report["notes"]
    assert not [text for text in words if _AS_PYTHON_WRITES.search(text)]
