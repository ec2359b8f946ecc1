"""Redis loses its data under a running engine: it lives, keeps its strategy, and runs what is scheduled next."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq import Dueq, strategies
from dueq.core.client.connection import connect
from dueq.core.config import Settings
from dueq.core.errors import DueqError
from dueq.core.namespace import Namespace
from dueq.core.schema import ownership
from dueq.core.schema.keys import Keys
from dueq.core.schema.quarantine import counts
from dueq.core.upkeep import engines

pytestmark = pytest.mark.processes

_CODE = """
import os
from dueq import Dueq

app = Dueq()


@app.task()
def write(line: str) -> None:
    with open(os.environ["LEDGER"], "a") as ledger:
        print(line, file=ledger)
"""


def _lines(engine: Engine) -> list[str]:
    return engine.ledger.read_text().split() if engine.ledger.exists() else []


class Producers:
    """Two that go on whatever happens: one that was there all the time, and ever new ones that know nothing."""

    def __init__(self, url: str) -> None:
        self._url, self._old = url, Dueq(url)
        self._stop, self.sent = threading.Event(), 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            for app in (self._old, Dueq(self._url)):
                task = (
                    app.task(name="shop_of_loss.write")(_nothing) if not app.tasks else app.find("shop_of_loss.write")
                )
                try:
                    task.after(0.05)(f"t{self.sent}")
                except DueqError:
                    continue  # lost in between twice: a producer asks again
                self.sent += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _nothing(line: str) -> None: ...


def _task(app: Dueq) -> Any:
    known = app.tasks.get("shop_of_loss.write")
    return app.task(name="shop_of_loss.write")(_nothing) if known is None else known


@pytest.mark.in_turn
@pytest.mark.parametrize("strategy", strategies.names())
def test_the_engine_lives_and_goes_on(engine: Engine, tmp_path: Path, strategy: str) -> None:
    (tmp_path / "shop_of_loss.py").write_text(_CODE)
    run = ("--workers", "1", "--strategy", strategy)
    process = engine.run(*run, target="shop_of_loss:app", apps=tmp_path)
    client, keys = connect(engine.url), Keys(Settings().namespace)
    producers = Producers(engine.url)
    try:
        wait_until(lambda: len(_lines(engine)) > 10, 20, what="tasks run")
        client.flushall()
        ours = ownership.Ownership(strategy, "scripted")
        wait_until(lambda: ownership.is_engines(ownership.look(client, keys), ours), 20, what="the engine keeps it")
        first = producers.sent + 1
        wait_until(
            lambda: any(int(line[1:]) > first for line in _lines(engine)), 20, what=f"tasks go on under {strategy}"
        )
        assert process.poll() is None
    finally:
        producers.stop()
        client.close()
    assert engine.stop(process) == 0, engine.log.read_text()[-2000:]


@pytest.mark.long
def test_a_namespace_that_a_producer_began_yields_when_the_engine_starts(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "shop_of_loss.py").write_text(_CODE)
    app = Dueq(engine.url)
    task = _task(app)
    for number in range(20):
        task.after(0.1)(f"t{number}")
    assert Namespace.open(app.settings).strategy.name == "lua"
    process = engine.run("--workers", "1", "--strategy", "watch", target="shop_of_loss:app", apps=tmp_path)
    wait_until(lambda: len(_lines(engine)) == 20, 20, what="all tasks ran")
    task.after(0)("t20")
    wait_until(lambda: len(_lines(engine)) == 21, 20, what="the producer follows")
    assert sorted(set(_lines(engine))) == sorted(_lines(engine))
    space = Namespace.open(Settings(redis_url=engine.url))
    space.client.flushall()
    wait_until(lambda: len(engines.supervisors(space)) == 1, 20, what="it is in the registry again")
    space.close()
    assert engine.stop(process) == 0


@pytest.mark.in_turn
@pytest.mark.parametrize("strategy", ["lua", "tmpset"])
def test_a_key_of_another_type_makes_room_within_seconds(engine: Engine, tmp_path: Path, strategy: str) -> None:
    (tmp_path / "shop_of_types.py").write_text(_CODE)
    process = engine.run("--strategy", strategy, target="shop_of_types:app", apps=tmp_path)
    children = {child.pid for child in engine.children(process)}
    client, keys = connect(engine.url), Keys("default")
    app = Dueq(engine.url)
    write = app.task(name="shop_of_types.write")(_nothing)
    for name in ("busy", "again", "leased"):
        client.delete(keys.plain(name))
        client.set(keys.plain(name), "odd")
    write.after(0)("a")
    wait_until(lambda: _lines(engine) == ["a"], 30, what="the task runs")
    wait_until(lambda: engine.ask(process, "/readyz")[0] == 200, 30, what="nothing is refused any more")
    # `busy` only repeats what the ready lists say: a step that meets it makes it anew, unless it is put apart before
    names: Any = client.zrange(keys.of("quarantine", "key"), 0, -1)
    kept = {name.decode().split()[-1] for name in names}
    assert {"again", "leased"} <= kept <= {"again", "leased", "busy"}
    assert {child.pid for child in engine.children(process)} == children
    assert engine.stop(process) == 0


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["lua", "tmpset"])
def test_rubbish_in_meta_makes_room_within_seconds(engine: Engine, tmp_path: Path, strategy: str) -> None:
    """No child ends, and what was scheduled before is run; nobody else comes along who would put it right."""
    (tmp_path / "shop_of_rubbish.py").write_text(_CODE)
    process = engine.run("--strategy", strategy, target="shop_of_rubbish:app", apps=tmp_path)
    children = {child.pid for child in engine.children(process)}
    client, keys = connect(engine.url), Keys("default")
    task = Dueq(engine.url).task(name="shop_of_rubbish.write")(_nothing)
    for number in range(20):
        task.after(0.2 * number)(f"t{number}")
    for field in ("strategy", "format", "features"):
        client.hset(keys.plain("meta"), field, b"\xffrubbish")
    wait_until(lambda: len(_lines(engine)) == 20, 20, what="all tasks ran")
    assert {child.pid for child in engine.children(process)} == children
    assert counts(client, keys)["field"] == 3
    assert "held a value that no dueq writes: it is in quarantine now" in engine.log.read_text()
    client.close()
    assert engine.stop(process) == 0
