"""What dueq and an application log in real processes, and a log that nobody reads."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.engine import Engine
from support.engine_fixtures import application
from support.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture
def app(engine: Engine) -> Iterator[ModuleType]:
    with application(engine, "talkative") as app:
        yield app


FILE = """
[loggers]
keys=root,shop
[handlers]
keys=mine
[formatters]
keys=mine
[logger_root]
level=INFO
handlers=mine
[logger_shop]
level=INFO
handlers=
qualname=shop
[handler_mine]
class=StreamHandler
formatter=mine
args=()
[formatter_mine]
format=MINE %(message)s
"""


def logged(engine: Engine, words: str) -> list[str]:
    """The lines that have these words, as soon as there is one."""
    wait_until(lambda: words in engine.log.read_text(), 15, what=words)
    return [line for line in engine.log.read_text().splitlines() if words in line]


def done(engine: Engine, supervisor: object, count: int) -> None:
    wait_until(lambda: engine.total(supervisor, "dueq_tasks_finished_total", outcome="done") >= count, 15)  # type: ignore[arg-type]


def test_lines_of_the_application_are_shown_with_their_task(engine: Engine, app: ModuleType) -> None:
    supervisor = engine.run("--workers", "1", target="talkative:app")
    handle = app.says.after(0)("to shop")
    other = app.says_to_root.after(0)("to root")
    for words, name, task in (("to shop", "shop", handle), ("to root", "root", other)):
        [line] = logged(engine, words)
        assert " INFO " in line
        assert f"{name}: {words} [task_id={task.id} " in line
    assert engine.stop(supervisor) == 0


@pytest.mark.parametrize(
    ("how", "when"),
    [
        ("basic", "at import"),
        ("own", "at import"),
        ("dict", "at import"),
        ("dict", "in a task"),
        ("file", "in a task"),
    ],
)
def test_an_application_that_configures_logging_has_its_way_and_dueq_goes_on(
    engine: Engine, app: ModuleType, tmp_path: Path, how: str, when: str
) -> None:
    (tmp_path / "logging.ini").write_text(FILE)
    environment = {"LOGGING_FILE": str(tmp_path / "logging.ini")}
    at_import = when == "at import"
    if at_import:
        environment["CONFIGURES"] = how
    supervisor = engine.run("--workers", "1", target="talkative:app", environment=environment)
    if not at_import:
        app.configures.after(0)(how)
        done(engine, supervisor, 1)
    assert "dueq.supervisor: ready" in engine.log.read_text()
    app.says.after(0)("to shop")
    failed = app.fails.after(0)("on purpose")
    [line] = logged(engine, "on purpose")
    assert f"dueq.worker: task {failed.id}" in line
    [line] = logged(engine, "to shop")
    assert line.startswith("MINE to shop")
    os.kill(engine.children(supervisor, "worker")[0].pid, signal.SIGKILL)
    logged(engine, "was killed by SIGKILL")
    assert engine.stop(supervisor) == 0
    assert "dueq.supervisor: stopped" in engine.log.read_text()


def test_a_level_for_dueq_is_heeded_and_its_lines_stay(engine: Engine, app: ModuleType) -> None:
    environment = {"CONFIGURES": "level"}
    supervisor = engine.run("--workers", "1", target="talkative:app", environment=environment)
    failed = app.fails.after(0)("on purpose")
    [line] = logged(engine, "on purpose")
    assert "ERROR" in line
    assert f"[task_id={failed.id}" in line
    assert engine.stop(supervisor) == 0
    assert "INFO" not in engine.log.read_text()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_nobody_catches_is_one_line(engine: Engine, app: ModuleType, log_format: str) -> None:
    supervisor = engine.run("--workers", "1", "--log-format", log_format, target="talkative:app")
    app.loses_a_thread.after(0)("LOST")
    done(engine, supervisor, 1)
    app.breaks_its_worker.after(0)("BROKEN")
    logged(engine, "exited with status 1")
    assert engine.stop(supervisor) == 0
    lines = engine.log.read_text().splitlines()
    assert sum("RuntimeError: LOST" in line and "unraisable" not in line for line in lines) == 1
    assert sum("RuntimeError: LOST unraisable" in line for line in lines) == 1
    assert sum("RuntimeError: BROKEN" in line for line in lines) == 1
    if log_format == "json":
        for line in lines:
            assert {"time", "level", "message"} <= json.loads(line).keys()


def test_a_log_that_nobody_reads_stops_nothing(engine: Engine, app: ModuleType) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    supervisor = engine.run("--workers", "1", target="talkative:app", stderr=writing)
    os.close(writing)
    app.says.after(0)("x" * 10_000, 600)  # a line shows 4,000 of them: 2.4 MB, where there is room for 1 MiB
    done(engine, supervisor, 1)
    assert engine.total(supervisor, "dueq_log_lines_dropped_total") > 50
    for child in engine.children(supervisor):  # each death is a line or two, which nobody reads either
        child.kill()
    wait_until(lambda: engine.total(supervisor, "dueq_process_restarts_total") >= 3, 10)
    app.says.after(0)("y")
    done(engine, supervisor, 2)
    assert engine.stop(supervisor) == 0, "within the patience of stop"
    os.close(reading)


def test_a_signal_after_the_last_word_changes_no_exit_status(engine: Engine, app: ModuleType) -> None:
    """Such as the second of two Ctrl-C, or of an impatient service manager."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        supervisor = engine.run("--workers", "1", target="talkative:app")
        engine.log.write_text("")
        supervisor.send_signal(signal.SIGTERM)
        logged(engine, ": stopped")
        while supervisor.poll() is None:
            supervisor.send_signal(number)
        assert supervisor.wait() == 0
