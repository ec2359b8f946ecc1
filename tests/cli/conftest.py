"""Fixtures: the command line in this process, on a namespace of the test's own; and a server with a password."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until
from support.world import World
from typer.testing import CliRunner

from dueq.cli.app import app
from dueq.core.client.embedded import find_binary

PASSWORD = "s3cret-pass"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Cli:
    """``dueq`` in this process, with the namespace and address of a test in the environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: str, stdin: str | None = None) -> Answer:
        result = CliRunner().invoke(app, arguments, input=stdin, env=self.environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    """The namespace that ``cli`` works on, seen from inside."""
    world = World(redis_url, f"cli{next(_numbers)}", "lua")
    yield world
    world.close()


@pytest.fixture
def cli(world: World) -> Cli:
    url = world.settings.redis_url
    assert url is not None
    return Cli({"DUEQ_REDIS_URL": url, "DUEQ_NAMESPACE": world.settings.namespace})


@pytest.fixture(scope="session")
def secured_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, with its password, of a server that asks for one and lets nobody use CONFIG."""
    directory = tmp_path_factory.mktemp("s")
    socket = directory / "r.sock"
    settings = [
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--save",
        "",
        "--requirepass",
        PASSWORD,
        "--dir",
        str(directory),
    ]
    server = subprocess.Popen(
        [find_binary(), *settings, "--rename-command", "CONFIG", ""],
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_until(socket.exists)
        yield f"unix://:{PASSWORD}@{socket}?db=0"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def unreachable(tmp_path: Path) -> str:
    return f"unix://:{PASSWORD}@{tmp_path}/nobody.sock"
