"""The embedded server dies, is stopped, or hangs, under a running ``dueq run``."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import Engine
from support.waiting import wait_until
from support.world import World
from typer.testing import CliRunner

from dueq.cli.app import app
from dueq.core.maintenance.reaper import Reaper
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import Telemetry

pytestmark = pytest.mark.processes


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.close()


def test_a_server_that_dies_is_started_again_and_one_that_is_stopped_is_not(engine: Engine) -> None:
    directory = str(engine.server.directory)
    supervisor = engine.run("--workers", "1", environment={"DUEQ_REDIS_URL": "", "DUEQ_DIR": directory})

    def is_ready() -> bool:
        return engine.ask(supervisor, "/readyz")[0] == 200

    for number in (signal.SIGKILL, signal.SIGTERM):
        pid = engine.server.pid()
        assert pid is not None
        os.kill(pid, number)
        wait_until(lambda: engine.server.pid() not in (None, pid), 15, what="it runs again")  # noqa: B023
        wait_until(is_ready, 15, what="the engine is ready again")
    assert "has died: starting it again" in engine.log.read_text()

    refused = CliRunner().invoke(app, ["redis", "stop", "--dir", directory])
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert engine.server.running()
    assert CliRunner().invoke(app, ["redis", "stop", "--dir", directory, "--yes"]).exit_code == 0
    wait_until(lambda: "was stopped: dueq redis start" in engine.log.read_text(), 5, what="the engine says so")
    time.sleep(1.5)  # a turn of the supervisor and more
    assert not engine.server.running()
    engine.server.start()
    wait_until(is_ready, 15, what="the engine is ready again")
    assert engine.stop(supervisor) == 0


def test_an_idle_server_is_stopped_without_a_question(engine: Engine) -> None:
    assert CliRunner().invoke(app, ["redis", "stop", "--dir", str(engine.server.directory)]).exit_code == 0


def test_a_server_that_stood_still_is_no_clock_that_jumped(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    world = World(engine.url, "still", "lua")
    counters = Counters()
    reaper = Reaper(world.main, Telemetry(counters, "reaper", "lua"), lease=1.0)
    reaper.run_once()
    pid = engine.server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(1.5, os.kill, (pid, signal.SIGCONT)).start()
    with caplog.at_level(logging.WARNING, "dueq.reaper"):
        assert reaper.run_once() == 1.0, "its owners may extend their leases first"
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("Redis stood still for 1.")
    assert "jumped" not in line
    reaper.run_once()
    world.close()
    counters.close()
