"""SIGHUP: new code without a pause, under load; and new code that cannot be imported."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from support.engine import Engine
from support.waiting import wait_until

pytestmark = pytest.mark.processes

CODE = """
import os, time
from dueq import Dueq, current

app = Dueq()
CODE = "{code}"


def _note(event):
    line = f"{{event}} {{current().id}} {{time.time_ns() // 1000}} {{CODE}} {{os.getpid()}}\\n"
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, line.encode())
    os.close(ledger)


@app.task()
def work(seconds):
    _note("start")
    time.sleep(seconds)
    _note("end")
{more}
"""


@dataclass
class Shop:
    """An application whose code changes."""

    directory: Path
    producer: ModuleType

    def write(self, code: str, more: str = "") -> None:
        (self.directory / "changing_shop.py").write_text(CODE.format(code=code, more=more))


@pytest.fixture
def shop(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "changing_shop.py").write_text(CODE.format(code="old", more=""))
    monkeypatch.setenv("DUEQ_REDIS_URL", engine.url)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(directory))
    yield Shop(directory, importlib.import_module("changing_shop"))
    del sys.modules["changing_shop"]


def _run(engine: Engine, shop: Shop, *flags: str) -> subprocess.Popen[bytes]:
    # bytecode is told from its source by size and whole second: too coarse for what changes as fast as here
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    return engine.run(*flags, target="changing_shop:app", apps=shop.directory, environment=environment)


def _said(engine: Engine, text: str, times: int = 1) -> bool:
    return engine.log.read_text().count(text) >= times


def test_new_code_takes_over_under_load_and_each_task_runs_once(engine: Engine, shop: Shop) -> None:
    supervisor = _run(engine, shop, "--workers", "2", "--prefetch", "4", "--max-restarts", "0")
    work = shop.producer.work
    long_one = work.after(0)(2.0)
    handles = [long_one]

    def load() -> int:
        """Schedule one more; returns how many there are."""
        handles.append(work.after(0.05)(0.01))
        time.sleep(0.01)
        return len(handles)

    before = {child.pid for child in engine.children(supervisor)}
    wait_until(lambda: load() and engine.ended() >= 20, 15)
    shop.write("new")
    supervisor.send_signal(signal.SIGHUP)
    wait_until(lambda: load() and _said(engine, "all children are replaced"), 20)
    replaced = time.time_ns() // 1000
    for _ in range(20):
        load()
    wait_until(lambda: engine.ended() == len(handles), 20)
    starts = {task_id: run.starts for task_id, run in engine.runs().items()}
    assert all(len(times) == 1 for times in starts.values())
    codes = Counter(start[1] for [start] in starts.values())
    assert codes["old"] >= 20
    assert codes["new"] >= 20
    assert all(start[1] == "new" for [start] in starts.values() if int(start[0]) > replaced)
    assert engine.runs()[long_one.id].ends[0][1] == "old", "it may finish"
    assert not before & {child.pid for child in engine.children(supervisor)}
    assert engine.total(supervisor, "dueq_process_restarts_total", cause="recycled") == 4
    assert engine.total(supervisor, "dueq_process_restarts_total") == 4
    assert engine.total(supervisor, "dueq_duplicates_total") == 0
    assert engine.stop(supervisor) == 0


@pytest.mark.long
def test_code_that_does_not_import_leaves_the_old_at_work(engine: Engine, shop: Shop) -> None:
    supervisor = _run(engine, shop, "--workers", "2", "--max-restarts", "0")
    before = {child.pid for child in engine.children(supervisor)}
    for attempt, more in enumerate(["def broken(:", 'raise SystemExit("no settings")'], 1):
        shop.write("new", more)
        supervisor.send_signal(signal.SIGHUP)
        wait_until(lambda: _said(engine, "the other children stay as they are", attempt), 10)  # noqa: B023
    log = engine.log.read_text()
    assert "importing changing_shop failed: SyntaxError" in log
    assert "importing changing_shop ended the program (sys.exit('no settings')" in log
    assert log.count("exited with status 78 before it was ready") == 2
    assert {child.pid for child in engine.children(supervisor)} == before
    first = shop.producer.work.after(0)(0.01)
    wait_until(lambda: engine.ended() == 1, 10)
    assert engine.runs()[first.id].starts[0][1] == "old"
    shop.write("right")
    supervisor.send_signal(signal.SIGHUP)
    wait_until(lambda: _said(engine, "all children are replaced"), 20)
    second = shop.producer.work.after(0)(0.01)
    wait_until(lambda: engine.ended() == 2, 10)
    assert engine.runs()[second.id].starts[0][1] == "right"
    assert engine.total(supervisor, "dueq_process_restarts_total") == 4
    assert engine.stop(supervisor) == 0
