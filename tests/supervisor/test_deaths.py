"""However a process of dueq dies, and however early, the log says so in whole lines without others in between.

The application and the start of the interpreter are made to fail in each process of the engine in turn.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.engine import APPS, Engine
from support.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.long]

# what Python runs first of all; only in children
_SITE = """
import sys
if "--multiprocessing-fork" in sys.orig_argv:
    {fails}
"""
_REFUSES = """
    import importlib.abc
    class Refuses(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == {name!r}:
                raise {error}
    sys.meta_path.insert(0, Refuses())
"""
_BEFORE_MAIN = {
    "multiprocess cannot be imported": (
        _REFUSES.format(name="multiprocess.spawn", error="ImportError('gone')"),
        "gone",
    ),
    "a module of dueq cannot be imported": (
        _REFUSES.format(name="dueq.core.supervisor.child", error="SyntaxError('half of a deploy')"),
        "SyntaxError: half of a deploy",
    ),
    "the order cannot be read": (
        _REFUSES.format(name="dueq.core.config", error="OSError(24, 'Too many open files')"),
        "Too many open files",
    ),
    "the interpreter gives up": ("import ctypes; ctypes.pythonapi.Py_FatalError(b'no such thing')", "no such thing"),
    "it ends without a word": ("import os; os._exit(7)", "exited with status 7"),
    "it is told to exit": ("import os; os.write(2, b'bye\\n'); os._exit(0)", "it wrote: bye"),
    "the log cannot be set up": (
        "import dueq.core.telemetry.logs as logs; logs.set_up = lambda *_, **__: 1 / 0",
        "ZeroDivisionError: division by zero",
    ),
    "something else is said, and it goes on": ("print('by the way\\nonly', file=sys.stderr)", "by the way | only"),
}
_APPLICATION = """
import atexit, os, sys, threading
from dueq import Dueq
app = Dueq()
in_child = "--multiprocessing-fork" in sys.orig_argv
{body}
"""
_AT_IMPORT = {
    "the application raises": ("assert not in_child, 'not here'", "AssertionError: not here"),
    "the application exits": ("if in_child: sys.exit('no settings')", "no settings"),
}


_NOISY = """
class Noisy:
    def __del__(self):
        raise ValueError("deleted")

def fail(why):
    raise ValueError(why)

@app.task(retries=0)
def thread():
    threading.Thread(target=fail, args=("in a thread",)).start()

@app.task(retries=0)
def deleted():
    Noisy()

@app.task(retries=0)
def fork():
    if not (pid := os.fork()):
        fail("in a fork")
    os.waitpid(pid, 0)

@app.task(retries=0)
def at_exit():
    atexit.register(fail, "at exit")

@app.task(retries=0)
def exits():
    os._exit(9)
"""
_SAID = ("in a thread", "deleted", "in a fork", "at exit", "exited with status 9")


def _lines(engine: Engine) -> list[dict[str, Any]]:
    """The log: every line is an object of JSON that says when, how bad, and by whom."""
    lines = [json.loads(line) for line in engine.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "process", "message"} <= line.keys() for line in lines)
    return lines


def _all_said(engine: Engine) -> str:
    return " ".join(f"{line['message']} {line.get('error', '')}" for line in _lines(engine))


def _fails_early(engine: Engine, tmp_path: Path, name: str, log_format: str) -> str:
    """Run an engine whose children do so; returns what is to be in the log."""
    fails, said = _BEFORE_MAIN[name]
    (tmp_path / "sitecustomize.py").write_text(_SITE.replace("{fails}", fails.strip()))
    flags = ("--log-format", log_format, "--workers", "1", "--max-restarts", "0")
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{APPS}"}
    supervisor = engine.run(*flags, apps=tmp_path, environment=environment, wait=False)
    wait_until(lambda: engine.is_ready(supervisor) or supervisor.poll() is not None, 30)
    status = engine.stop(supervisor) if supervisor.poll() is None else supervisor.returncode
    assert status == (0 if "goes on" in name else 4)
    return said


@pytest.mark.parametrize("name", _BEFORE_MAIN)
def test_of_what_fails_before_its_main_function(engine: Engine, tmp_path: Path, name: str) -> None:
    said = _fails_early(engine, tmp_path, name, "json")
    assert said in _all_said(engine)


def test_of_what_fails_early_in_text(engine: Engine, tmp_path: Path) -> None:
    said = _fails_early(engine, tmp_path, "a module of dueq cannot be imported", "text")
    *lines, last = engine.log.read_text().splitlines()
    assert [line for line in lines if not re.match(r"\d{4}-\d\d-\d\d .* \[\d+\] dueq\.", line)] == []
    assert last.startswith("dueq: ")
    assert any(said in line for line in lines)


@pytest.mark.parametrize("name", _AT_IMPORT)
def test_of_an_application_that_fails_in_a_worker(engine: Engine, tmp_path: Path, name: str) -> None:
    body, said = _AT_IMPORT[name]
    (tmp_path / "dying.py").write_text(_APPLICATION.format(body=f"@app.task()\ndef nothing(): ...\n{body}"))
    supervisor = engine.run("--log-format", "json", target="dying:app", apps=tmp_path, wait=False)
    assert supervisor.wait(30) == 4
    assert said in _all_said(engine)


def test_of_a_worker_that_goes_in_noise(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dying.py").write_text(_APPLICATION.format(body=_NOISY))
    flags = ("--log-format", "json", "--workers", "1", "--max-losses", "1")
    supervisor = engine.run(*flags, target="dying:app", apps=tmp_path)
    monkeypatch.setenv("DUEQ_REDIS_URL", engine.url)
    monkeypatch.syspath_prepend(str(tmp_path))
    dying: Any = __import__("dying")
    for ended, task in enumerate((dying.thread, dying.deleted, dying.fork, dying.at_exit), 1):
        task.after(0)()
        wait_until(lambda ended=ended: _ended(engine, supervisor) == ended, 20)  # type: ignore[misc]
    [worker] = engine.children(supervisor, "worker")
    worker.terminate()  # in order: what is registered with atexit runs
    worker.wait(10)
    dying.exits.after(0)()
    wait_until(lambda: "exited with status 9" in _all_said(engine), 20)
    assert engine.stop(supervisor) == 0
    said = _all_said(engine)
    assert [words for words in _SAID if words not in said] == []


def _ended(engine: Engine, supervisor: Any) -> float:
    return engine.total(supervisor, "dueq_tasks_finished_total", outcome="done")
