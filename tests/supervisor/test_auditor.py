"""The auditor at work in the process of a real reaper."""

from __future__ import annotations

import signal
from types import ModuleType

import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq import strategies
from dueq.core.client.connection import connect
from dueq.core.schema.keys import Keys

pytestmark = pytest.mark.processes


@pytest.mark.in_turn
@pytest.mark.parametrize("strategy", strategies.names())
def test_a_task_that_lost_its_place_runs_all_the_same(engine: Engine, sample: ModuleType, strategy: str) -> None:
    flags = ("--workers", "1", "--lease", "1", "--audit-interval", "1", "--strategy", strategy)
    supervisor = engine.run(*flags)
    handle = sample.nap.after(600)(0.0)
    namespace = sample.app._connected().reached()
    namespace.strategy.clear(["default"])
    wait_until(lambda: engine.total(supervisor, "dueq_audit_repairs_total", kind="scheduled") == 1, 30)
    assert handle.reschedule(after=0)
    wait_until(lambda: engine.ended() == 1, 10)
    assert len(engine.runs()[handle.id].starts) == 1
    assert engine.total(supervisor, "dueq_audit_repairs_total") == 1
    assert engine.total(supervisor, "dueq_duplicates_total") == 0
    assert engine.stop(supervisor) == 0


@pytest.mark.parametrize("role", ["worker", "reaper"])
def test_deaths_ask_for_an_audit(engine: Engine, sample: ModuleType, role: str) -> None:
    supervisor = engine.run("--workers", "1")
    recovered = Keys(sample.app.settings.namespace).plain("recovered")
    client = connect(engine.url)
    sample.nap.after(0)(0.5)
    wait_until(lambda: engine.runs(), 10)
    assert client.get(recovered) is None
    for child in engine.children(supervisor, role):
        child.send_signal(signal.SIGKILL)
    wait_until(lambda: client.get(recovered), 10)
    wait_until(lambda: engine.ended() == 1, 10)
    assert engine.stop(supervisor) == 0
