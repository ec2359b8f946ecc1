"""The strategies without scripts need Redis 2.4 and no more. The proof needs no such server, and is done twice.

Once by all commands that a new server receives while everything happens: it says it is 2.4.9, so that dueq does what it
would do there. And once by a server that does not know the commands that came after 2.4.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
from redis.exceptions import ResponseError
from support.engine import APPS, Engine
from support.proxy import disguised
from support.servers import Server, all_servers, running
from support.since import LIKE_2_4, SINCE_2_4, Catalogue, recorded
from support.waiting import wait_until
from support.world import TRANSACTIONAL
from typer.testing import CliRunner

from dueq import strategies
from dueq.cli.app import app
from dueq.core.app.task import Handle
from dueq.core.client.connection import connect, server_version
from dueq.core.schema.keys import Keys
from dueq.core.store.permissions import needed

HERE = {server.name: server for server in all_servers() if isinstance(server, Server)}
NEW, OLD = "redis-8.2.3", "redis-2.8.17"
pytestmark = [
    pytest.mark.processes,
    pytest.mark.long,
    pytest.mark.skipif(not {NEW, OLD} <= HERE.keys(), reason=f"no {NEW} or no {OLD}"),
    pytest.mark.timeout(300),
]
_OPTIONS = (
    *("--workers", "2", "--dispatchers", "2", "--prefetch", "4", "--lease", "2", "--audit-interval", "1"),
    *("--hang-timeout", "0"),  # a worker that stands still is to lose its lease, and to live on
)
_NOT_GIVEN = {
    "run": "as a process of its own, several times",
    "replay": "what demo does, with another log",
    "chaos": "it starts servers of its own; what its engine and producers send is what is sent here",
    "bench": "what its engine and producers send is sent here; the rest (INFO, SET, DEL, LRANGE) is older",
    **{f"redis {name}": "about the server that dueq starts itself" for name in ("start", "stop", "url", "status")},
}
"""The commands that ``Life.cli`` does not give, and why."""
_ASKED_FOR = {"INFO", "SLOWLOG", "CONFIG", "SELECT", "KEYS", "ECHO", "COMMAND"}
"""What dueq asks for and does without where it is refused; and what only the test itself sends."""


def other(strategy: str) -> str:
    """The strategy that the namespace is moved to, and back from."""
    return next(name for name in TRANSACTIONAL if name != strategy)


def command_names() -> set[str]:
    """Every command of the command line, those of groups as two words."""
    group: Any = typer.main.get_command(app)
    found: set[str] = set()
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= {name} if inner is None else {f"{name} {one}" for one in inner}
    return found


@contextmanager
def producer(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("DUEQ_REDIS_URL", url)
    monkeypatch.syspath_prepend(str(APPS))
    try:
        yield importlib.import_module("sample")
    finally:
        del sys.modules["sample"]


class Life:
    """All that dueq does, on the server at ``url``."""

    def __init__(self, url: str, strategy: str, directory: Path, sample: ModuleType) -> None:
        self.engine, self.strategy, self.sample = Engine(directory, url=url), strategy, sample
        self.directory, self.url = directory, url
        self.given: set[str] = set()
        self.supervisor = self._started()

    def _started(self) -> Any:
        return self.engine.run("--strategy", self.strategy, *_OPTIONS)

    def cli(self, *arguments: str, status: int = 0) -> str:
        self.given.add(next(name for name in command_names() if [*arguments][: len(name.split())] == name.split()))
        result = CliRunner().invoke(app, arguments, env={"DUEQ_REDIS_URL": self.url})
        assert result.exit_code == status, (arguments, result.output, result.exception)
        return result.stdout

    def everything(self) -> None:
        self.tasks_end_in_every_way()
        self.processes_are_killed()
        self.a_worker_stands_still()
        self.commands_are_given()
        assert self.engine.total(self.supervisor, "dueq_early_starts_total") == 0
        assert self.engine.stop(self.supervisor) == 0
        self.namespace_is_moved()
        self.namespace_is_purged()
        self.log_is_replayed()
        assert self.given == command_names() - _NOT_GIVEN.keys()

    def tasks_end_in_every_way(self) -> None:
        sample, engine = self.sample, self.engine
        far = [sample.nap.after(3600)(0.001) for _ in range(3)]
        many = sample.app.schedule_many([sample.nap.call_after(0.3 + n * 0.01)(0.001) for n in range(150)])
        sample.nap.after(0, id="known")(0.01)
        sample.nap.after(0, id="known")(0.01)
        sample.chain.after(0)(5)
        sample.fail.after(0)()
        sample.odd.after(0)("huge")
        sample.odd.after(0)("exit")
        sample.aside.after(0.2)()
        assert far[0].cancel()
        assert not far[0].cancel()
        assert far[1].reschedule(after=0.1)
        assert far[2].reschedule(after=7200)
        wait_until(partial(self.are_done, [*many, far[1]]), 30, what="all tasks are done")
        wait_until(lambda: engine.total(self.supervisor, "dueq_tasks", state="dead") == 3, 30, what="three are dead")

    def processes_are_killed(self) -> None:
        engine, sample = self.engine, self.sample
        for role in ("worker", "dispatcher", "reaper"):
            long = [sample.nap.after(0)(0.5) for _ in range(4)]
            wait_until(partial(self.has_one_begun, long), what="one runs")
            sample.app.schedule_many([sample.nap.call_after(0)(0.001) for n in range(20)])
            engine.children(self.supervisor, role)[0].send_signal(signal.SIGKILL)
            wait_until(partial(self.are_done, long), 30, what=f"all, without a {role}")
        lost = sample.nap.after(0)(1.5)
        wait_until(lambda: engine.runs()[lost.id].starts, what="it runs")
        children = engine.children(self.supervisor)
        self.supervisor.kill()
        self.supervisor.wait()
        wait_until(lambda: not any(child.is_running() for child in children), what="the children are gone, too")
        self.supervisor = self._started()
        wait_until(lambda: lost.id in self.done(), 30, what="its lease has run out, and another ran it")
        assert len(engine.runs()[lost.id].starts) == 2

    def a_worker_stands_still(self) -> None:
        engine = self.engine
        long = self.sample.nap.after(0)(1.0)
        wait_until(lambda: engine.runs()[long.id].starts, what="it runs")
        pid = int(engine.runs()[long.id].starts[0][-1])
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: long.id in self.done(), 30, what="its lease has run out, and another ran it")
        os.kill(pid, signal.SIGCONT)
        wait_until(
            lambda: engine.total(self.supervisor, "dueq_duplicates_total", cause="stale_ack") == 1,
            30,
            what="it is told that it comes too late",
        )

    def commands_are_given(self) -> None:
        lines, nap = self.directory / "tasks.jsonl", self.sample.nap.name
        entry = json.dumps({"task": nap, "args": [0.001], "in": "1h"})
        lines.write_text(f"{entry}\n" * 120)
        self.cli("schedule", "--file", str(lines))
        self.cli("schedule", "1", "--in", "10m", status=2)  # the registry is asked, and knows of no handler
        self.cli("schedule", "--task", nap, "[0.001]", "--in", "10m", "--id", "mine")
        assert json.loads(self.cli("show", "mine", "--json"))["state"] == "scheduled"
        assert json.loads(self.cli("explain", "mine", "--json"))["events"][0]["event"] == "scheduled"
        self.cli("cancel", "mine")
        self.cli("show", "mine", status=1)
        assert self.strategy in self.cli("status")
        assert sum(queue["dead"] for queue in json.loads(self.cli("status", "--json"))["queues"]) == 3
        found = [json.loads(line)["id"] for line in self.cli("dead", "list", "--json").splitlines()]
        assert len(found) == 3
        self.cli("show", found[0])
        self.cli("dead", "retry", found[0])
        wait_until(lambda: self.engine.total(self.supervisor, "dueq_tasks", state="dead") == 3, 30, what="dead again")
        self.cli("dead", "purge", "--all", "--yes")
        self.damage_is_put_aside()
        self.doctor()

    def damage_is_put_aside(self) -> None:
        client, keys = connect(self.url), Keys("default")
        client.hset(keys.record("damaged"), "damaged", b"rubbish")  # for the auditor
        client.hset(keys.record("unreadable"), "unreadable", b"rubbish")
        client.lpush(keys.of("ready", "default"), "unreadable")  # for a worker
        client.close()
        self.sample.nap.after(0)(0.001)  # it wakes one
        wait_until(
            lambda: self.engine.total(self.supervisor, "dueq_quarantined", kind="record") == 2,
            30,
            what="both are in quarantine",
        )
        found = [json.loads(line) for line in self.cli("quarantine", "--json").splitlines()]
        assert {one["id"] for one in found} == {"damaged", "unreadable"}

    def doctor(self) -> None:
        told = json.loads(self.cli("doctor", "--strategy", self.strategy, "--json"))
        can = {each["name"]: each["can_run"] for each in told["strategies"]}
        assert can == {name: name in TRANSACTIONAL for name in can}
        self.cli("doctor", "--strategy", self.strategy)
        assert '"lua"' in self.cli("doctor", "--strategy", self.strategy, "--json")

    def log_is_replayed(self) -> None:
        where = ("--strategy", self.strategy, "--redis-url", self.url)
        report = json.loads(self.cli("demo", *where, "--limit", "50", "--json"))
        assert (report["finished"], report["lost"], report["early"], report["clock_offset_us"]) == (50, 0, 0, 0)
        self.nothing_is_left()

    def namespace_is_moved(self) -> None:
        client = connect(self.url)
        assert client.get("dueq:{default}:audited"), "the auditor was at work, too"
        client.close()
        for target in (other(self.strategy), self.strategy):
            told = json.loads(self.cli("migrate", "--to", target, "--json"))
            assert (told["strategy"], told["moved"]) == (target, 121)

    def namespace_is_purged(self) -> None:
        self.cli("purge", "--yes")
        self.nothing_is_left()

    def nothing_is_left(self) -> None:
        client = connect(self.url)
        assert client.keys("dueq*") == []
        client.close()

    def are_done(self, handles: Iterable[Handle]) -> bool:
        return {each.id for each in handles} <= self.done()

    def has_one_begun(self, handles: Iterable[Handle]) -> bool:
        runs = self.engine.runs()
        return any(runs[each.id].starts for each in handles if each.id in runs)

    def done(self) -> set[str]:
        return {task_id for task_id, run in self.engine.runs().items() if run.ends}


@pytest.mark.parametrize("strategy", TRANSACTIONAL)
def test_a_server_is_told_nothing_that_redis_2_4_does_not_know(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    with (
        running(HERE[NEW], tmp_path) as real,
        disguised(real, Path(real.partition("://")[2].partition("?")[0]).parent, "8.2.3", "2.4.9") as url,
        producer(url, monkeypatch) as sample,
    ):
        client, seen = connect(real), connect(url)
        assert server_version(seen) == (2, 4, 9)
        seen.close()
        catalogue = Catalogue(client)
        with recorded(client) as recording:
            life = Life(url, strategy, tmp_path, sample)
            try:
                life.everything()
            finally:
                life.engine.close()
        complaints = {complaint: words for words in recording.commands if (complaint := catalogue.complaint(words))}
        assert complaints == {}
        assert [name for name in recording.calls if not catalogue.knows(name)] == []
        hidden = recording.hidden()
        assert hidden.keys() <= {"config|get", "slowlog|get"}, "what MONITOR does not show, nobody has checked"
        shown = sorted({words[0].upper() for words in recording.commands})
        both = (strategy, other(strategy))
        known = _ASKED_FOR.union(*(needed(strategies.find(name), "transactional") for name in both))
        assert [name for name in shown if name not in known] == [], "src/core/store/permissions.py is to name it"
        assert {"WATCH", "MULTI", "EXEC", "BLPOP"} & set(shown)
        print(f"{strategy}: {len(recording.commands)} commands of {len(shown)} kinds, {hidden} hidden; {shown}")
        record_property("commands proven", len(recording.commands))
        client.close()


@pytest.mark.parametrize("strategy", TRANSACTIONAL)
def test_everything_works_on_a_server_that_knows_only_what_redis_2_4_does(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(HERE[OLD], tmp_path, *LIKE_2_4) as url, producer(url, monkeypatch) as sample:
        life = Life(url, strategy, tmp_path, sample)
        try:
            life.everything()
        finally:
            life.engine.close()


def test_that_server_knows_nothing_newer(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "old").mkdir()
    with running(HERE[NEW], tmp_path / "new") as new, running(HERE[OLD], tmp_path / "old") as old:
        catalogue = Catalogue(connect(new))
        known: Any = connect(old).command()
        assert sorted(name.upper() for name in known if not catalogue.knows(name)) == sorted(SINCE_2_4)
    with running(HERE[OLD], tmp_path, *LIKE_2_4) as url:
        for command in SINCE_2_4:
            client: Any = connect(url)
            with pytest.raises(ResponseError, match="unknown command"):
                client.execute_command(command)
