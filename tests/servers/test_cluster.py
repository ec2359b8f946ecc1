"""A node of a Redis Cluster: its errors are explained, to producers and engines alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot
from support.engine import Engine
from support.servers import Server, all_servers, free_port, running
from support.waiting import wait_until
from typer.testing import CliRunner

from dueq import Dueq
from dueq.cli.app import app
from dueq.core.client.connection import connect
from dueq.core.client.failures import explained
from dueq.core.errors import ServerRefused
from dueq.core.schema.keys import Keys

pytestmark = pytest.mark.long

OTHER = "b" * 40
OURS, THEIRS, NOBODYS, LEAVING = "ours", "theirs", "nobodys", "leaving"


def _slot(namespace: str) -> int:
    return int(key_slot(Keys(namespace).prefix.encode()))


def _answer(code: str) -> str:
    return f"node of a Redis Cluster and answered {code} .*not support Redis Cluster yet.*cluster-enabled no"


@pytest.fixture(scope="module", params=["redis-7.0.15"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a node that has the slots of two namespaces, one of them on its way to another node, that has the
    slot of a third and will never answer."""
    server = next(each for each in all_servers() if each.name == request.param)
    if not isinstance(server, Server):
        pytest.skip(f"no {server.name}")
    port = next(port for port in iter(free_port, 0) if port < 55_000)  # the nodes' own port is 10,000 above
    directory: Path = tmp_path_factory.mktemp("cluster")
    (directory / "nodes.conf").write_text(
        f"{'a' * 40} 127.0.0.1:{port} myself,master - 0 0 1 connected {_slot(OURS)} {_slot(LEAVING)}\n"
        f"{OTHER} 127.0.0.1:7162 master - 0 0 2 connected {_slot(THEIRS)}\n"
        "vars currentEpoch 2 lastVoteEpoch 0\n"
    )
    options = ("cluster-enabled yes", f"port {port}", "cluster-require-full-coverage no", "cluster-node-timeout 600000")
    with running(server, directory, *options) as url:
        client: Any = connect(url)
        wait_until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), 10, what="it serves")
        client.set(Keys(LEAVING).prefix + "here", "1")
        client.execute_command("CLUSTER", "SETSLOT", _slot(LEAVING), "MIGRATING", OTHER)
        yield url
        client.close()


def test_each_answer_is_explained(node: str) -> None:
    client: Any = connect(node)
    cases = {
        "MOVED": ("GET", Keys(THEIRS).prefix),
        "CLUSTERDOWN": ("GET", Keys(NOBODYS).prefix),
        "ASK": ("GET", Keys(LEAVING).prefix + "gone"),
        "(?:TRYAGAIN|ASK)": ("MGET", Keys(LEAVING).prefix + "here", Keys(LEAVING).prefix + "gone"),
        "CROSSSLOT": ("MGET", Keys(OURS).prefix, Keys(THEIRS).prefix),
    }
    for code, command in cases.items():
        with pytest.raises(ServerRefused, match=_answer(code)), explained(node):
            client.execute_command(*command)
    client.close()


def test_producers_and_commands_are_told(node: str) -> None:
    producer = Dueq(node, namespace=THEIRS)
    with pytest.raises(ServerRefused, match=_answer("MOVED")):
        producer.schedule_task(0, "x")
    for command in ("status", "doctor"):
        result = CliRunner().invoke(app, [command], env={"DUEQ_REDIS_URL": node, "DUEQ_NAMESPACE": THEIRS})
        assert result.exit_code == 3
        assert re.search(_answer("MOVED"), result.stderr)


def test_an_engine_says_so_in_its_log(node: str, tmp_path: Path) -> None:
    """Its slot is moved away while it works."""
    engine, client = Engine(tmp_path, url=node), connect(node)
    try:
        supervisor = engine.run("--workers", "1", environment={"DUEQ_NAMESPACE": OURS})
        moved: Any = client.pipeline()
        moved.flushall().execute_command("CLUSTER", "SETSLOT", _slot(OURS), "NODE", OTHER)
        moved.execute()
        wait_until(lambda: "answered MOVED" in engine.log.read_text(), 40, what="it says what it is told")
        assert engine.stop(supervisor) == 0
    finally:
        engine.close()
        client.close()
