"""One forbidden command: doctor names it, the engine says so once and goes on as far as it can, readyz reports it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.engine import Engine
from support.servers import Server, all_servers, running
from support.waiting import wait_until
from support.world import SCRIPTED
from typer.testing import CliRunner

from dueq import Dueq, strategies
from dueq.cli.app import app
from dueq.core.client.connection import connect
from dueq.core.schema.keys import Keys
from dueq.core.store.permissions import needed

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = next((each for each in all_servers() if each.name == "redis-7.0.15"), None)
    if not isinstance(server, Server):
        pytest.skip("no redis-7.0.15")
    with running(server, tmp_path_factory.mktemp("redis")) as url:
        yield url


def without(url: str, *rules: str) -> str:
    """The address of a user who may do all but this."""
    admin: Any = connect(url)
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">x", "~*", "&*", "+@all", *rules)
    admin.connection_pool.disconnect()
    return url.replace("unix://", "unix://limited:x@")


def doctor(url: str, strategy: str) -> dict[str, Any]:
    found = CliRunner().invoke(app, ["doctor", "--strategy", strategy, "--json"], env={"DUEQ_REDIS_URL": url})
    told: dict[str, Any] = json.loads(found.stdout)
    assert found.exit_code == (0 if told["can_run"] else 1)
    return told


@pytest.mark.parametrize("strategy", ["lua", "keyspace", "tmpset"])
def test_doctor_names_each_command_that_is_forbidden(redis_url: str, strategy: str) -> None:
    """Those that scripts call, too; and it changes nothing."""
    admin: Any = connect(redis_url)
    admin.hset(Keys("default").plain("meta"), "store", "scripted")
    before = sorted(admin.keys("*"))
    for command in sorted(needed(strategies.find(strategy), "scripted") - {"HGET", "HMGET"}):  # these it begins with
        told = doctor(without(redis_url, f"-{command.lower()}"), strategy)
        view = next(view for view in told["strategies"] if view["name"] == strategy)
        said = " ".join(f"{obstacle['lacking']} {obstacle['remedy']}" for obstacle in view["obstacles"])
        assert not told["can_run"], command
        assert command.replace("|", " ") in said or command in said, (command, said)
    assert sorted(admin.keys("*")) == before
    admin.connection_pool.disconnect()


def test_a_command_that_is_renamed_is_named(tmp_path: Path) -> None:
    server = next(each for each in all_servers() if each.name == "redis-2.8.17")
    if not isinstance(server, Server):
        pytest.skip("no redis-2.8.17")
    with running(server, tmp_path, 'rename-command BLPOP ""') as url:
        told = doctor(url, "watch")
        view = next(view for view in told["strategies"] if view["name"] == "watch")
        assert not told["can_run"]
        assert "BLPOP (unknown command" in view["obstacles"][0]["lacking"]


@pytest.mark.parametrize("rule", ["-info", "-@admin"])
def test_status_works_without(redis_url: str, rule: str) -> None:
    answer = CliRunner().invoke(app, ["status"], env={"DUEQ_REDIS_URL": without(redis_url, rule)})
    assert answer.exit_code == 0, answer.output
    assert "version unknown" in answer.stdout or rule != "-info"


@pytest.mark.parametrize("strategy", ["lua", "watch"])
def test_an_engine_whose_permission_is_taken_away(redis_url: str, strategy: str, tmp_path: Path) -> None:
    """It runs tasks as it can, says so in a few lines, not 1,467, tells readyz, and goes on once it may again."""
    url, name = without(redis_url), f"taken-{strategy}"
    engine = Engine(tmp_path, url=url)
    try:
        supervisor = engine.run("--strategy", strategy, "--workers", "1", environment={"DUEQ_NAMESPACE": name})
        without(redis_url, "-@blocking")
        producer = Dueq(url, namespace=name)  # its first task wakes both, into what is refused from now on
        producer.schedule_task(time.time(), 1)
        wait_until(lambda: engine.ask(supervisor, "/readyz")[0] == 503, 15, what="readyz tells it")
        reasons = engine.ask(supervisor, "/readyz")[1]
        assert any("Redis refuses what a" in reason for reason in reasons), reasons
        time.sleep(3)
        said = [line for line in engine.log.read_text().splitlines() if "Redis trouble" in line]
        assert 1 <= len(said) <= 4, said
        assert all("permission" in line for line in said)
        without(redis_url)
        wait_until(lambda: engine.ask(supervisor, "/readyz") == (200, []), 15, what="it is ready again")
        assert engine.stop(supervisor) == 0
    finally:
        engine.close()


def test_start_is_refused_where_a_command_is(redis_url: str, tmp_path: Path) -> None:
    engine = Engine(tmp_path, url=without(redis_url, "-blpop"))
    process = engine.run("--strategy", SCRIPTED[0], environment={"DUEQ_NAMESPACE": "refused"}, wait=False)
    assert process.wait(30) == 2
    assert "permission for BLPOP" in engine.log.read_text()
    engine.close()
