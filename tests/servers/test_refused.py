"""A strategy on a server that cannot run it is refused before anything starts, with the reason; nothing is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError
from support.engine import APPS
from support.older import like_2_4, saying
from support.servers import Missing, Server, all_servers, running
from support.world import SCRIPTED, TRANSACTIONAL
from typer.testing import CliRunner

from dueq import Dueq, strategies
from dueq.cli.app import app
from dueq.core.client.connection import connect
from dueq.core.errors import StrategyUnavailable
from dueq.core.schema.keys import Keys
from dueq.core.store.requirements import check

pytestmark = pytest.mark.long

KEYS = Keys("refused")
EVERY = [*SCRIPTED, *TRANSACTIONAL]
NO_EVENTS = ["keyspace"]
FLAGS = "notify-keyspace-events"
UPGRADE = r"upgrade to Redis 2\.\d or later"


def named(name: str, *options: str) -> Callable[[], Server | Missing]:
    """The real server ``name`` with more lines of redis.conf."""

    def found() -> Server | Missing:
        server = next(server for server in all_servers() if server.name == name)
        return server if isinstance(server, Missing) else replace(server, options=options)

    return found


@dataclass(frozen=True)
class Case:
    """A server, the strategies that it cannot carry, and what must be said about it."""

    server: Callable[[], Server | Missing]
    refused: list[str]
    lacking: str
    remedy: str
    user: str = ""


CASES = {
    "2.2": Case(lambda: saying("2.2.15"), EVERY, r"Redis 2\.\d \(this is 2\.2\.15\)", UPGRADE),
    "2.4": Case(like_2_4, SCRIPTED, r"Redis 2\.\d \(this is 2\.4\.18\)", UPGRADE),
    "2.6": Case(lambda: saying("2.6.17"), NO_EVENTS, r"Redis 2\.8 \(this is 2\.6\.17\)", UPGRADE),
    **{
        f"{name} without {command}": Case(
            named(name, f'rename-command {command} ""'),
            SCRIPTED,
            rf"scripts \({command}.*unknown command",
            "do not rename these commands",
        )
        for name in ("redis-2.8.17", "redis-3.2.6", "redis-7.0.15", "valkey-9.1.2")
        for command in ("EVAL", "EVALSHA", "SCRIPT")
    },
    **{
        f"{name} without CONFIG": Case(
            named(name, 'rename-command CONFIG ""'), NO_EVENTS, "keyspace events .*CONFIG", f"set {FLAGS} to Kx"
        )
        for name in ("redis-2.8.17", "redis-6.2.14", "valkey-9.1.2")
    },
    "scripts not allowed": Case(
        named("redis-7.0.15", "user limited on nopass ~* &* +@all -@scripting"),
        SCRIPTED,
        r"scripts \(EVAL.*permission",
        r"ACL \+@scripting",
        user="limited",
    ),
    "CONFIG SET not allowed": Case(
        named("redis-7.0.15", "user limited on nopass ~* &* +@all -config|set"),
        NO_EVENTS,
        "CONFIG SET is refused",
        f"set {FLAGS} to Kx",
        user="limited",
    ),
}


@contextmanager
def started(case: Case, directory: Path) -> Iterator[tuple[str, str]]:
    """The address that dueq is given, and one of somebody who may do everything."""
    server = case.server()
    if isinstance(server, Missing):
        pytest.skip(f"no {server.name}: {server.reason}")
    with running(server, directory) as url:
        yield url.replace("unix://", f"unix://{case.user}:x@") if case.user else url, url


def state(url: str) -> tuple[object, object]:
    """All that may not be changed: the keys, and the server's settings, if it tells them."""
    client = connect(url)
    try:
        keys = client.keys("*")
        try:
            return keys, client.config_get("*")
        except ResponseError:
            return keys, None
    finally:
        client.close()


def dueq_run(url: str, strategy: str) -> str:
    """What ``dueq run`` says when it is refused."""
    command = [sys.executable, "-m", "dueq", "run", "sample:app", "--strategy", strategy, "--metrics-port", "0"]
    ended = subprocess.run(
        command, cwd=APPS, env=os.environ | {"DUEQ_REDIS_URL": url}, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    return ended.stderr


def doctor(url: str, strategy: str) -> dict[str, Any]:
    """What ``dueq doctor`` says about each strategy, asked for one that cannot run."""
    result = CliRunner().invoke(app, ["doctor", "--strategy", strategy, "--json"], env={"DUEQ_REDIS_URL": url})
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    assert told["can_run"] is False
    return {view["name"]: view for view in told["strategies"]}


@pytest.mark.parametrize("name", CASES)
def test_a_strategy_that_a_server_cannot_carry_is_refused(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    with started(case, tmp_path) as (url, whole_url):
        before = state(whole_url)
        assert before[0] == []
        client = connect(url)
        for strategy in set(strategies.names()) - set(case.refused):
            check(client, strategies.find(strategy), KEYS)
        for strategy in case.refused:
            with pytest.raises(StrategyUnavailable, match=f"(?s){case.lacking}.*{case.remedy}") as caught:
                check(client, strategies.find(strategy), KEYS)
            assert repr(strategy) in str(caught.value)
            views = doctor(url, strategy)
            assert {one for one, view in views.items() if not view["can_run"]} == set(case.refused)
            [obstacle] = views[strategy]["obstacles"]
            assert re.search(case.lacking, obstacle["lacking"])
            assert re.search(case.remedy, obstacle["remedy"])
        said = dueq_run(url, case.refused[0])
        assert re.search(f"(?s){case.lacking}.*{case.remedy}", said)
        assert len(said.splitlines()) == 1, said
        client.close()
        assert state(whole_url) == before


@pytest.mark.parametrize("flags", ["Kx", "KEA", "AKE$"])
def test_without_config_events_that_come_will_do(flags: str, tmp_path: Path) -> None:
    server = named("redis-2.8.17", 'rename-command CONFIG ""', f"{FLAGS} {flags}")()
    if isinstance(server, Missing):
        pytest.skip(f"no {server.name}: {server.reason}")
    with running(server, tmp_path) as url:
        client = connect(url)
        check(client, strategies.find("keyspace"), KEYS)
        assert client.keys("*") == []
        client.close()


@pytest.mark.parametrize("strategy", SCRIPTED)
def test_a_producer_is_told_as_clearly(strategy: str, tmp_path: Path) -> None:
    server = like_2_4()
    if isinstance(server, Missing):
        pytest.skip(f"no {server.name}: {server.reason}")
    with running(server, tmp_path) as url:
        producer = Dueq(url, namespace="n", strategy=strategy)
        with pytest.raises(StrategyUnavailable, match=r"unknown command .*dueq doctor"):
            producer.schedule_task(0, "data")
        assert connect(url).keys("*") == []
