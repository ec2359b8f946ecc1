"""The program itself: exit codes, its messages when something goes wrong, and what it never shows."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError, ResponseError

import dueq
from dueq.__main__ import title
from dueq.cli.exits import Exit, exit_code
from dueq.cli.replay import replay
from dueq.core.config import RunOptions, run_flags
from dueq.core.errors import (
    BootFailure,
    ConfigurationError,
    EmbeddedServerError,
    InvalidTask,
    RestartLimitExceeded,
    ServerRefused,
    ServerUnavailable,
    StrategyMismatch,
)
from dueq.core.schema.bounds import MOST_TASKS
from dueq.core.supervisor import run as core_run
from dueq.replay import report, runner

from .conftest import PASSWORD, Cli

DUEQ = [sys.executable, "-m", "dueq"]


def ended(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("DUEQ_")}
    return subprocess.run([*DUEQ, *arguments], env=env | environment, capture_output=True, text=True, timeout=30)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_the_password_leaves_the_process_title(secured_url: str) -> None:
    program = subprocess.Popen(
        [*DUEQ, "status", "--watch", "--json", "--redis-url", secured_url], stdout=subprocess.PIPE
    )
    try:
        assert program.stdout is not None
        assert PASSWORD not in program.stdout.readline().decode()  # it runs, and does not print it either
        shown = Path(f"/proc/{program.pid}/cmdline").read_bytes().decode()
        assert PASSWORD not in shown
        assert shown.startswith("dueq status --watch --json --redis-url unix://***@")
        program.send_signal(signal.SIGINT)
        assert program.wait(10) == 130
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize(
    "address",
    ["redis://:pw@h/0", "redis://user:pw@h", "rediss://u:p/w@h:1", "redis://:p@pw@h", "unix:///s?password=pw",
     "redis://h?db=1&password=pw&username=pw"],
)  # fmt: skip
def test_titles_have_no_credentials(address: str) -> None:
    for arguments in (["run", "shop:app", "--redis-url", address], ["run", "shop:app", f"--redis-url={address}"]):
        shown = title(arguments)
        assert shown.startswith("dueq run shop:app --redis-url")
        assert "pw" not in shown
        assert "p/w" not in shown


def test_a_server_that_is_not_there(unreachable: str) -> None:
    for arguments in (
        ("status", "--redis-url", unreachable),
        ("schedule", "1", "--in", "1m", "--redis-url", unreachable),
    ):
        result = ended(*arguments)
        assert result.returncode == 3
        assert result.stdout == ""
        assert result.stderr.startswith("dueq: cannot reach Redis at unix://***@")
        assert result.stderr.count("\n") == 1
        assert PASSWORD not in result.stderr
        assert "a write" not in result.stderr  # there was none without a connection


def test_a_server_of_another_kind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            asker, _ = listening.accept()
            with asker:
                asker.recv(100)
                asker.sendall(b"<html>")

        threading.Thread(target=answer, daemon=True).start()
        where = f"redis://127.0.0.1:{listening.getsockname()[1]}"
        answered = Cli({})("status", "--redis-url", where)
    assert answered.code == 3
    assert answered.err.startswith(f"dueq: the server at {where} does not speak Redis's protocol")


def test_a_wrong_password(secured_url: str) -> None:
    answer = Cli({"DUEQ_REDIS_URL": secured_url.replace(PASSWORD, "wr0ng")})("status")
    assert answer.code == 3
    assert "refused the login" in answer.err
    assert "wr0ng" not in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "{url}"),
        ("{url}",),
        ("status", "--url={url}"),
        ("status", "--redis_url", "{url}"),
        ("run", "{url}", "x"),
    ],
)
def test_wrong_usage_never_quotes_a_password(arguments: tuple[str, ...]) -> None:
    answer = Cli({})(*(word.format(url=f"redis://:{PASSWORD}@h") for word in arguments))
    assert answer.code == 2
    assert PASSWORD not in answer.err + answer.out


def test_an_address_that_is_none() -> None:
    answer = Cli({})("status", "--redis-url", "http://example.org")
    assert answer.code == 2
    assert answer.err.startswith("dueq: 'http://example.org' is not a Redis address")


def test_version_and_bare_call() -> None:
    assert Cli({})("--version").out == f"dueq {dueq.__version__}\n"
    bare = Cli({})()
    assert bare.code == 2
    assert "Exit codes" in bare.out + bare.err


def test_help_of_every_kind_is_there() -> None:
    text = Cli({"COLUMNS": "200"})("--help").out
    for code in Exit:
        assert f"  {code.value}  " in text
    assert "--install-completion" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError(""), 2),
        (InvalidTask(""), 2),
        (StrategyMismatch(""), 2),
        (ServerUnavailable(""), 3),
        (ServerRefused(""), 3),
        (EmbeddedServerError(""), 3),
        (ConnectionError(""), 3),
        (ResponseError(""), 3),
        (BootFailure(""), 4),
        (RestartLimitExceeded(""), 4),
    ],
)
def test_exit_codes(error: Any, code: int) -> None:
    assert exit_code(error) == code


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunOptions, dict[str, str | None]]]:
    """What ``dueq run`` asks the supervisor for, which is not started."""
    asked: list[tuple[RunOptions, dict[str, str | None]]] = []
    supervise: Callable[..., None] = lambda options, **settings: asked.append((options, settings))  # noqa: E731
    monkeypatch.setattr(core_run, "supervise", supervise)
    return asked


def test_run_defaults_are_the_options_own(supervised: list[tuple[RunOptions, dict[str, str | None]]]) -> None:
    assert Cli({})("run", "shop:app").code == 0
    assert supervised == [(RunOptions("shop:app"), {"redis_url": None, "namespace": None, "strategy": None})]


def test_a_batch_is_as_large_as_a_step_may_be() -> None:
    """The options say this number, too, and cannot import it: they are below it."""
    _, flag = run_flags()["batch"]
    assert RunOptions("shop:app").batch == MOST_TASKS
    assert re.findall(r"\d+", flag.help) == [str(MOST_TASKS)] * 2


def test_run_passes_every_option(supervised: list[tuple[RunOptions, dict[str, str | None]]]) -> None:
    arguments = (
        "run shop:app --strategy lua --workers 2 --dispatchers 3 --queues a,b --prefetch 4 --lease 5 --batch 6 "
        "--safety-net 7 --audit-interval 12 --hang-timeout 13 --max-tasks-per-worker 14 --max-memory-per-worker 15.5 "
        "--max-losses 8 --drain-timeout 9 --max-restarts 10 --restart-window 11 --state-dir d "
        "--metrics-host ::1 --metrics-port 0 --state-file s --log-format json --redis-url redis://h --namespace n"
    )
    assert Cli({})(*arguments.split()).code == 0
    wanted = RunOptions(
        "shop:app", 2, 3, ("a", "b"), 4, 5.0, 6, 7.0, 12.0, 13.0, 14, 15.5, 8, 9.0, 10, 11.0, "d", "::1", 0, "s", "json"
    )  # fmt: skip
    assert supervised == [(wanted, {"redis_url": "redis://h", "namespace": "n", "strategy": "lua"})]


def test_run_leaves_the_environment_to_the_app(supervised: list[tuple[RunOptions, dict[str, str | None]]]) -> None:
    cli = Cli({"DUEQ_REDIS_URL": "redis://elsewhere", "DUEQ_NAMESPACE": "other"})
    assert cli("run", "shop:app", "--no-metrics").code == 0
    assert supervised[0][0].metrics_port is None
    assert supervised[0][1] == {"redis_url": None, "namespace": None, "strategy": None}
    assert cli("run", "shop:app", "--metrics-port", "-1").code == 0
    assert supervised[1][0].metrics_port is None


@pytest.mark.parametrize(
    "arguments",
    [("--workers", "0", "--dispatchers", "0"), ("--queues", "a b"), ("--lease", "0"), ("--metrics-port", "70000"),
     ("--log-format", "xml"), ("--workers", "-1"), ("--no-such",)],
)  # fmt: skip
def test_run_refuses_nonsense(
    supervised: list[tuple[RunOptions, dict[str, str | None]]], arguments: tuple[str, ...]
) -> None:
    answer = Cli({})("run", "shop:app", *arguments)
    assert answer.code == 2
    assert answer.err
    assert supervised == []


def test_run_tells_what_it_cannot_load(tmp_path: Path) -> None:
    result = ended("run", "no_such_module:app", DUEQ_REDIS_URL=f"unix://{tmp_path}/none")
    assert result.returncode == 2
    assert "no_such_module" in result.stderr
    assert "Traceback" not in result.stderr


def test_run_ends_as_the_supervisor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_: object, **__: object) -> None:
        raise RestartLimitExceeded("worker processes died too often")

    monkeypatch.setattr(core_run, "supervise", give_up)
    answer = Cli({})("run", "shop:app")
    assert answer.code == 4
    assert answer.err == "dueq: worker processes died too often\n"


def test_main_is_light() -> None:
    """Every spawned child imports it again."""
    code = "import sys, dueq.__main__; print(any(name.startswith(('typer', 'rich')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_replay_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("0,0\n")
    asked: dict[str, Any] = {}

    def run_replay(path: Path, **options: object) -> dict[str, int]:
        asked.update(options, path=path)
        return {"lost": 0}

    monkeypatch.setattr(runner, "run_replay", run_replay)
    monkeypatch.setattr(report, "is_clean", lambda found: found["lost"] == 1)
    answer = Cli({})("replay", str(trace), "--speed", "10", "--json", "--metrics-port", "9465")
    assert (answer.code, answer.json) == (1, {"lost": 0})
    assert (asked["path"], asked["speed"], asked["metrics_port"], asked["json"]) == (trace, 10.0, 9465, True)
    assert Cli({})("replay", str(tmp_path / "none.csv")).code == 2
    assert signature(replay).parameters["cap"].default == runner.DEFAULT_CAP_S
