"""What ``dueq doctor --acl`` allows is enough for a part of the conformance suite, an engine and the command line.

The whole suite runs so with ``--least-privilege`` (tests/conftest.py).
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conformance.test_dead_letters import *  # noqa: F403
from conformance.test_dispatch import *  # noqa: F403
from conformance.test_recovery import *  # noqa: F403
from support.engine import Engine
from support.limited import denied, limited
from support.servers import Server, all_servers, running
from support.waiting import wait_until
from support.world import World
from typer.testing import CliRunner

from dueq import Dueq, strategies
from dueq.cli.app import app
from dueq.core.client.connection import connect
from dueq.core.store.acl import PASSWORD
from dueq.core.store.permissions import EXAMPLES, needed

pytestmark = pytest.mark.long

_numbers = itertools.count(1)
_ELSEWHERE = {"EVAL", "EVALSHA", "SCRIPT|LOAD", "PSUBSCRIBE", "MULTI", "EXEC", "DISCARD"}
"""Commands that are tried in ways of their own."""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = next((each for each in all_servers() if each.name == "redis-7.0.15"), None)
    if not isinstance(server, Server):
        pytest.skip("no redis-7.0.15")
    with running(server, tmp_path_factory.mktemp("redis"), "notify-keyspace-events Kx") as url:
        yield url


@pytest.fixture
def world(redis_url: str, strategy_name: str, request: pytest.FixtureRequest) -> Iterator[World]:
    """A namespace whose actors are all of the limited user."""
    name = f"limited{next(_numbers)}"
    world = World(redis_url, name, strategy_name, seen_as=limited(redis_url, name, [strategy_name]))
    try:
        yield world
        if not request.node.get_closest_marker("leaves_keys"):
            world.finish()
    finally:
        world.close()
    assert denied(redis_url) == [], "src/core/store/permissions.py, or the strategy's needs, should allow it"


def test_an_engine_and_the_command_line(
    redis_url: str, strategy_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"engine-{strategy_name}"
    url = limited(redis_url, name, [strategy_name])
    where = {"DUEQ_REDIS_URL": url, "DUEQ_NAMESPACE": name}
    found = CliRunner().invoke(app, ["doctor", "--strategy", strategy_name, "--json"], env=where)
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert next(view for view in told["strategies"] if view["name"] == strategy_name)["can_run"]
    denied(redis_url)  # doctor asks more than it needs

    engine = Engine(tmp_path, url=url)
    try:
        supervisor = engine.run("--strategy", strategy_name, "--workers", "1", environment={"DUEQ_NAMESPACE": name})
        producer = Dueq(url, namespace=name)
        producer.schedule_task(time.time() + 3600, {"x": 1}, id="later")
        assert producer.cancel("later")
        for command in ("status", "show later", "explain later", "dead list", "cancel later", "purge"):
            answer = CliRunner().invoke(app, command.split() + ["--yes"] * (command == "purge"), env=where)
            assert answer.exit_code in (0, 1), (command, answer.output)
        wait_until(lambda: engine.ask(supervisor, "/readyz") == (200, []), 15, what="it is ready")
        wait_until(lambda: engine.total(supervisor, "dueq_redis_writable") == 1, 15, what="writes are taken")
        assert engine.stop(supervisor) == 0
    finally:
        engine.close()
    log = engine.log.read_text()
    assert "Redis trouble" not in log
    assert denied(redis_url) == []


def test_the_demo(redis_url: str, strategy_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dueq.harness.sandbox.secrets", SimpleNamespace(token_hex=lambda size: strategy_name))
    url = limited(redis_url, f"replay-{strategy_name}", [strategy_name])
    command = ["demo", "--strategy", strategy_name, "--redis-url", url, "--limit", "5", "--speed", "100000", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (result.output, denied(redis_url))
    assert json.loads(result.stdout)["finished"] == 5


def test_the_rule_is_printed(redis_url: str, strategy_name: str) -> None:
    where = {"DUEQ_REDIS_URL": redis_url, "DUEQ_NAMESPACE": "shop"}
    line = CliRunner().invoke(app, ["doctor", "--acl", "--strategy", strategy_name], env=where).stdout
    assert line.startswith(f"user dueq-shop on >{PASSWORD} resetkeys ~dueq:{{shop}}:* resetchannels ")
    assert "&*" not in line
    assert "+@" not in line
    assert "+info" not in line
    assert "+config" not in line
    admin: Any = connect(redis_url)
    assert admin.execute_command("ACL", "SETUSER", *line.split()[1:])


def test_every_command_can_be_tried(redis_url: str, strategy_name: str) -> None:
    """Each has words to try it with, as many as it takes: else the server says so before it looks at permissions."""
    commands = needed(strategies.find(strategy_name), "scripted")
    assert commands <= EXAMPLES.keys() | _ELSEWHERE
    pool: Any = connect(redis_url).connection_pool
    connection = pool.get_connection()

    def reply(*words: str) -> Any:
        connection.send_command(*words)
        return connection.read_response()

    assert reply("MULTI") == b"OK"
    for name in sorted(commands & EXAMPLES.keys() - {"WATCH"}):
        assert reply(name, *EXAMPLES[name]) == b"QUEUED", name
    assert reply("DISCARD") == b"OK"
    pool.disconnect()
