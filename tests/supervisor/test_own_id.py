"""A task that schedules its own id from inside goes on, whichever run fails, and whichever process is killed."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import pytest
from support.engine import APPS, Engine
from support.waiting import wait_until

pytestmark = pytest.mark.processes

LAST = 60


def _lines(engine: Engine) -> list[list[int]]:
    if not engine.ledger.exists():
        return []
    return [[int(word) for word in line.split()] for line in engine.ledger.read_text().splitlines()]


def test_it_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUEQ_REDIS_URL", engine.url)
    monkeypatch.syspath_prepend(str(APPS))
    perpetual = importlib.import_module("perpetual")
    monkeypatch.delitem(sys.modules, "perpetual")
    supervisor = engine.run("--workers", "2", target="perpetual:app")
    perpetual.tick.after(0, id="clock")(0, LAST)
    kills = 0
    for at in (10, 25, 40):
        wait_until(lambda at=at: (lines := _lines(engine)) and lines[-1][0] >= at, 30)  # type: ignore[misc]
        os.kill(_lines(engine)[-1][2], signal.SIGKILL)
        kills += 1
    wait_until(lambda: _lines(engine)[-1][0] == LAST, 30)
    numbers = [number for number, _, _ in _lines(engine)]
    assert sorted(set(numbers)) == list(range(LAST + 1))
    assert numbers == sorted(numbers), "a run began before the one that asked for it had ended"
    assert len(numbers) - len(set(numbers)) <= kills
    tokens = [token for _, token, _ in _lines(engine)]
    assert tokens == sorted(set(tokens))
    store = perpetual.app._connected().reached().store
    wait_until(lambda: store.record("clock") is None, 10)
    letters = store.dead("default", 0, 99)
    assert len(letters) == len([number for number in range(LAST) if number % 10 == 9])
    assert all(letter.record.id.startswith("clock~") for letter in letters)
    assert engine.stop(supervisor) == 0
