"""A running supervisor is in the registry, with the queues and tasks it serves, as long as it runs and no longer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq.core.config import Settings
from dueq.core.namespace import Namespace
from dueq.core.upkeep import engines as registry
from dueq.core.upkeep.engines import Supervisor

pytestmark = pytest.mark.processes

_CODE = """
from dueq import Dueq

app = Dueq()


@app.task(queue="mail")
def send() -> None: ...
"""


def _registered(engine: Engine) -> list[Supervisor]:
    namespace = Namespace.open(Settings(redis_url=engine.url))
    try:
        return registry.supervisors(namespace)
    finally:
        namespace.close()


def test_it_is_there_while_it_runs(engine: Engine) -> None:
    process = engine.run("--workers", "2", "--queues", "b,a")
    pids = {child.pid for child in engine.children(process)}

    def is_whole() -> bool:
        found = _registered(engine)
        return bool(found) and {one.pid for role in found[0].roles.values() for one in role.processes} == pids

    wait_until(is_whole, 10, what="all children are in the registry")
    [found] = _registered(engine)
    assert found.about.pid == process.pid
    assert {name: role.wanted for name, role in found.roles.items()} == {"worker": 2, "dispatcher": 1, "reaper": 1}
    assert all(str(process.pid) not in one.name for one in found.roles["worker"].processes), "not the supervisor's pid"
    assert found.served.queues == ("b", "a")
    victim = found.roles["worker"].processes[0].pid
    os.kill(victim, signal.SIGKILL)
    wait_until(
        lambda: victim not in {one.pid for one in _registered(engine)[0].roles["worker"].processes},
        15,
        what="the registry has the new worker",
    )
    assert engine.stop(process) == 0
    assert _registered(engine) == []


@pytest.mark.long
def test_what_is_served_is_that_of_the_newest_code(engine: Engine, tmp_path: Path) -> None:
    code = tmp_path / "shop_of_today.py"
    code.write_text(_CODE)
    process = engine.run("--workers", "1", target="shop_of_today:app", apps=tmp_path)
    wait_until(lambda: bool(_registered(engine)), 10, what="it is registered")
    assert _registered(engine)[0].served.tasks == {"shop_of_today.send": "mail"}
    code.write_text(_CODE.replace("def send", "def post").replace("mail", "letters"))
    process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: _registered(engine)[0].served.tasks == {"shop_of_today.post": "letters"},
        20,
        what="the new code is known",
    )
    wait_until(lambda: "all children are replaced" in engine.log.read_text(), 20, what="all are replaced")
    assert engine.stop(process) == 0
