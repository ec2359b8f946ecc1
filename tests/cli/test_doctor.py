"""``dueq doctor``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.proxy import disguised
from support.waiting import wait_until
from support.world import TRANSACTIONAL, World

from dueq import strategies
from dueq.core.client.connection import connect
from dueq.core.client.embedded import EmbeddedServer

from .conftest import PASSWORD, Cli


def findings(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in report["findings"]}


def test_a_good_server(cli: Cli) -> None:
    answer = cli("doctor", "--json")
    assert answer.code == 0
    assert answer.json["can_run"] is True
    found = findings(answer.json)
    assert found["server"]["verdict"] == "ok"
    assert found["scripts"]["value"] == "allowed"
    assert found["maxmemory-policy"]["value"] == "noeviction"
    assert found["append-only file"]["verdict"] == "warning"  # the tests' server has none
    assert abs(float(found["clock skew"]["value"].split()[0])) < 1000
    assert found["hz"]["value"] == "10"
    assert found["mode"]["value"] == "standalone"
    assert [view["name"] for view in answer.json["strategies"] if view["can_run"]] == list(strategies.names())
    said = cli("doctor").out
    assert "strategy lua can run here" in said


def test_a_server_that_forgets(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "d", options={"maxmemory-policy": "allkeys-lru", "appendfsync": "no"})
    url = server.start()
    try:
        cli = Cli({"DUEQ_REDIS_URL": url})
        answer = cli("doctor", "--json")
        assert answer.code == 0  # it can run, at a risk
        found = findings(answer.json)
        assert "noeviction" in found["maxmemory-policy"]["advice"]
        assert "everysec" in found["append-only file"]["advice"]
    finally:
        server.stop()


def test_a_managed_server(secured_url: str) -> None:
    """CONFIG is refused: some things are unknown, and that is no fault."""
    cli = Cli({"DUEQ_REDIS_URL": secured_url})
    answer = cli("doctor", "--json")
    assert answer.code == 0
    found = findings(answer.json)
    assert found["notify-keyspace-events"] == {
        "name": "notify-keyspace-events", "value": None, "verdict": "unknown", "advice": "",
    }  # fmt: skip
    assert PASSWORD not in answer.out
    assert "unknown" in cli("doctor").out


def test_a_server_without_scripts(secured_url: str) -> None:
    client: Any = connect(secured_url)
    client.execute_command("ACL", "SETUSER", "noscript", "on", ">" + PASSWORD, "~*", "+@all", "-@scripting")
    client.close()
    url = secured_url.replace("://:", "://noscript:")
    cli = Cli({"DUEQ_REDIS_URL": url})
    answer = cli("doctor", "--strategy", "lua", "--json")
    assert answer.code == 1
    assert answer.json["can_run"] is False
    assert [view["name"] for view in answer.json["strategies"] if view["can_run"]] == TRANSACTIONAL
    lua = next(view for view in answer.json["strategies"] if view["name"] == "lua")
    assert "scripts" in lua["obstacles"][0]["lacking"]
    assert "+@scripting" in lua["obstacles"][0]["remedy"]
    said = cli("doctor").out
    assert "cannot run here" in said
    assert PASSWORD not in said


def test_a_replica(tmp_path: Path) -> None:
    primary, replica = (
        EmbeddedServer(tmp_path / "a"),
        EmbeddedServer(tmp_path / "b", options={"replicaof": "127.0.0.1 1"}),
    )
    url = replica.start()
    try:
        answer = Cli({"DUEQ_REDIS_URL": url})("doctor", "--json")
        assert answer.code == 1
        assert findings(answer.json)["role"]["verdict"] == "bad"
    finally:
        replica.stop()
        assert not primary.running()


def test_an_unknown_strategy_and_another_than_the_namespace_has(cli: Cli, world: World) -> None:
    answer = cli("doctor", "--strategy", "nosuch")
    assert answer.code == 2
    assert "choose one of lua" in answer.err
    world.main.claim()
    world.redis.hset(world.keys.plain("meta"), "strategy", "other")
    answer = cli("doctor", "--strategy", "lua")
    assert answer.code == 2
    assert "owned by strategy 'other'" in answer.err


def test_commands_are_harmless(cli: Cli, world: World) -> None:
    before = sorted(world.redis.scan_iter(count=10_000))
    assert cli("doctor").code == 0
    assert sorted(world.redis.scan_iter(count=10_000)) == before


@pytest.mark.parametrize(
    ("settings", "code", "advice"),
    [
        ({"maxmemory": "1"}, "OOM", "maxmemory"),
        ({"replicaof": "127.0.0.1 1"}, "READONLY", "primary"),
        ({"min-replicas-to-write": "1"}, "NOREPLICAS", "min-replicas-to-write"),
        ({"save": "1 1", "dir": "gone"}, "MISCONF", "disk"),
    ],
)
def test_a_server_that_refuses_writes(
    tmp_path: Path, settings: dict[str, str], code: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gone").mkdir()
    options = {"appendonly": "no", "enable-protected-configs": "yes"}
    url = EmbeddedServer(tmp_path / "d", options=options).start()
    try:
        admin: Any = connect(url)
        for name, value in settings.items():
            if name == "replicaof":
                admin.execute_command("REPLICAOF", *value.split())
            else:
                admin.config_set(name, str(Path(value).absolute()) if name == "dir" else value)
        if code == "MISCONF":
            Path("gone").rmdir()
            admin.set("x", 1)
            wait_until(lambda: admin.info()["rdb_last_bgsave_status"] == "err", 15, what="it could not save")
        answer = Cli({"DUEQ_REDIS_URL": url})("doctor", "--json")
        assert answer.code == 1
        writes = findings(answer.json)["writes"]
        assert (writes["verdict"], code in writes["value"], advice in writes["advice"]) == ("bad", True, True), writes
        assert "refused" in Cli({"DUEQ_REDIS_URL": url})("doctor").out
    finally:
        os.kill(int((tmp_path / "d" / "redis.pid").read_text()), signal.SIGKILL)


def test_a_server_that_is_away_gets_advice_that_is_none_of_doctors_own(unreachable: str) -> None:
    answer = Cli({"DUEQ_REDIS_URL": unreachable})("doctor")
    assert answer.code == 3
    assert "dueq doctor" not in answer.err
    assert "check that it runs" in answer.err


def test_a_slow_server_shows(cli: Cli, world: World) -> None:
    found = findings(cli("doctor", "--json").json)
    assert found["round trip"]["verdict"] in ("ok", "warning")
    assert float(found["round trip"]["value"].split()[0]) < 1000
    world.redis.config_set("slowlog-log-slower-than", 0)
    world.redis.eval("redis.call('PING') return 'very slow \x1b[2J'", 0)
    world.redis.config_set("slowlog-log-slower-than", 10_000)
    found = findings(cli("doctor", "--json").json)
    assert found["slow commands"]["verdict"] == "warning"
    assert "in the last hour" in found["slow commands"]["value"]
    assert "\x1b" not in cli("doctor").out
    world.redis.slowlog_reset()


def test_a_server_that_answers_late_is_called_slow(world: World, tmp_path: Path) -> None:
    with disguised(str(world.settings.redis_url), tmp_path, "x", "y", seconds=0.05) as url:
        found = findings(Cli({"DUEQ_REDIS_URL": url})("doctor", "--json").json)
        assert found["round trip"]["verdict"] == "warning"
        assert "nearer" in found["round trip"]["advice"]
