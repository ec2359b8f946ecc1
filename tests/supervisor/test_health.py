"""What a real ``dueq run`` reports to its watchers: HTTP, sd_notify, and its log."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from support.engine import Engine
from support.waiting import wait_until

pytestmark = pytest.mark.processes


def test_it_is_ready_as_long_as_redis_answers_and_live_all_the_time(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "1")
    assert engine.ask(supervisor, "/readyz") == (200, [])
    assert engine.ask(supervisor, "/livez") == (200, [])
    engine.server.stop()
    assert engine.ask(supervisor, "/readyz") == (503, ["Redis does not answer"])
    assert engine.ask(supervisor, "/livez") == (200, [])
    engine.server.start()
    wait_until(lambda: engine.ask(supervisor, "/readyz")[0] == 200, 10)
    handle = sample.nap.after(0)(1.0)
    wait_until(lambda: engine.runs()[handle.id].starts, 15)
    supervisor.send_signal(signal.SIGTERM)
    wait_until(lambda: "it is stopping" in engine.ask(supervisor, "/readyz")[1], 5)
    assert engine.ask(supervisor, "/readyz")[0] == 503
    assert engine.ask(supervisor, "/livez") == (200, [])
    assert supervisor.wait(10) == 0
    assert engine.ended() == 1


def test_a_role_that_is_missing_is_not_ready(engine: Engine) -> None:
    """A dispatcher that crashes in a loop is out of work longer and longer; meanwhile nothing becomes due."""
    supervisor = engine.run("--workers", "1")

    def kill_and_see() -> bool:
        for child in engine.children(supervisor, "dispatcher"):
            child.kill()
        return engine.ask(supervisor, "/readyz") == (503, ["no dispatcher is ready"])

    wait_until(kill_and_see, 10)
    wait_until(lambda: engine.ask(supervisor, "/readyz")[0] == 200, 10)


class Manager:
    """A service manager: all that was sent to its socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._said: list[str] = []

    def said(self) -> list[str]:
        while True:
            try:
                self._said.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self._said

    def kinds(self) -> list[str]:
        """The first line of each message that is not food for the watchdog."""
        return [kind for message in self.said() if (kind := message.split("\n")[0]) != "WATCHDOG=1"]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_it_tells_the_service_manager(engine: Engine, manager: Manager, tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    supervisor = engine.run("--workers", "1", environment=environment)
    wait_until(lambda: manager.kinds() == ["READY=1"], 5)
    ready = next(message for message in manager.said() if message.startswith("READY"))
    assert f"MAINPID={supervisor.pid}" in ready
    assert str(engine.state(supervisor)["metrics_url"]) in ready
    wait_until(lambda: manager.said().count("WATCHDOG=1") >= 3, 5)
    supervisor.send_signal(signal.SIGHUP)
    wait_until(lambda: manager.kinds() == ["READY=1", "RELOADING=1", "READY=1"], 15)
    assert engine.stop(supervisor) == 0
    assert manager.kinds() == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


@pytest.mark.in_turn("log_format")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_line_of_the_log_is_one_record(engine: Engine, sample: ModuleType, log_format: str) -> None:
    """Also from a task that raises something of many lines, a crash, and all stacks."""
    supervisor = engine.run("--workers", "1", "--log-format", log_format, "--lease", "2")
    failed = sample.fail.after(0)()
    wait_until(lambda: engine.total(supervisor, "dueq_tasks_finished_total", outcome="dead") == 1, 10)
    supervisor.send_signal(signal.SIGUSR1)
    time.sleep(1)
    for child in engine.children(supervisor, "worker"):
        child.kill()
    wait_until(lambda: engine.total(supervisor, "dueq_process_restarts_total", cause="signal") == 1, 5)
    assert engine.stop(supervisor) == 0
    lines = engine.log.read_text().splitlines()
    if log_format == "text":
        assert all(line[:2] == "20" and "strategy=lua]" in line for line in lines[1:])
        about = [line for line in lines if f"task_id={failed.id} token=" in line]
    else:
        found = [json.loads(line) for line in lines]
        assert all(line["strategy"] == "lua" for line in found[1:])
        about = [line["error"] for line in found if line.get("task_id") == failed.id and line["token"] > 0]
    assert len(about) == 2, "the retry, and the end"
    assert all("RuntimeError: on purpose" in line for line in about)
    assert sum("stacks of" in line for line in lines) == 4
    assert sum("was killed by SIGKILL" in line for line in lines) == 1


@pytest.mark.long
def test_connections_and_files_in_short_supply_stop_nothing(engine: Engine) -> None:
    supervisor = engine.run("--workers", "1", "--max-restarts", "2")
    process = psutil.Process(supervisor.pid)
    _, most = process.rlimit(psutil.RLIMIT_NOFILE)
    host, port = str(engine.state(supervisor)["metrics_url"]).split("/")[2].split(":")

    def kill_worker() -> None:
        [worker] = engine.children(supervisor, "worker")
        worker.kill()
        worker.wait(10)

    def replaced(times: int) -> None:
        wait_until(lambda: engine.total(supervisor, "dueq_process_restarts_total", cause="signal") == times, 20)
        wait_until(lambda: engine.ask(supervisor, "/readyz") == (200, []), 20)

    process.rlimit(psutil.RLIMIT_NOFILE, (256, most))
    idle = [socket.create_connection((host, int(port)), 10) for _ in range(500)]
    kill_worker()
    replaced(1)
    for each in idle:
        each.close()
    process.rlimit(psutil.RLIMIT_NOFILE, (12, most))  # fewer than it has: each new one fails
    kill_worker()
    wait_until(lambda: "until there is room" in engine.log.read_text(), 10)
    time.sleep(3)  # some tries, more than restarts are allowed
    assert supervisor.poll() is None
    process.rlimit(psutil.RLIMIT_NOFILE, (1024, most))
    replaced(2)
    assert engine.log.read_text().count("until there is room") == 1
    assert engine.stop(supervisor) == 0
