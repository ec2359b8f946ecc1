"""``dueq migrate``, and ``dueq purge`` of every strategy's index."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.moving import index_of, scene, visitor
from support.servers import Server, all_servers, running
from support.world import World

from dueq import strategies
from dueq.core.schema.format import NEWEST
from dueq.core.upkeep import migration

from .conftest import Cli

HOUR = 3_600_000_000
_numbers = itertools.count(1)


@pytest.fixture
def made(redis_url: str) -> Iterator[Callable[[str], tuple[World, Cli]]]:
    """Makes a namespace that a strategy keeps, and the command line on it."""
    worlds: list[World] = []

    def make(strategy: str) -> tuple[World, Cli]:
        world = World(redis_url, f"migrate{next(_numbers)}", strategy)
        worlds.append(world)
        return world, Cli({"DUEQ_REDIS_URL": redis_url, "DUEQ_NAMESPACE": world.keys.namespace})

    yield make
    for world in worlds:
        world.close()


def test_migrate(cli: Cli, world: World) -> None:
    world.schedule("a", "b", delay_us=HOUR)
    name = world.keys.namespace
    answer = cli("migrate", "--to", "buckets")
    assert answer.code == 0
    assert answer.out.startswith(f"namespace {name} is owned by strategy buckets now: 2 tasks moved from lua in ")
    assert answer.err == ""
    assert cli("status", "--json").json["strategy"] == "buckets"
    assert cli("cancel", "a").code == 0
    back = cli("migrate", "--to", "lua", "--json")
    kept = {"namespace": name, "strategy": "lua", "store": "scripted", "format": NEWEST}
    assert (back.code, back.json) == (0, kept | {"from": "buckets", "moved": 1})
    assert world.states()["scheduled"] == 1


def test_nothing_to_move(cli: Cli, world: World) -> None:
    name = world.keys.namespace
    kept = {"namespace": name, "strategy": "watch", "store": "scripted", "format": NEWEST}
    assert cli("migrate", "--to", "watch", "--json").json == kept | {"from": None, "moved": 0}
    answer = cli("migrate", "--to", "watch")
    assert (answer.code, answer.out) == (0, f"namespace {name} is owned by strategy watch: nothing to move\n")
    assert cli("status", "--json").json["strategy"] == "watch"


def test_the_store_is_moved_alone_or_with_the_strategy(cli: Cli, world: World) -> None:
    world.schedule("a", delay_us=HOUR)
    name = world.keys.namespace
    cli_of_nothing = Cli({**cli.environment, "DUEQ_NAMESPACE": f"{name}nothing"})
    refused = cli_of_nothing("migrate", "--store", "scripted")
    assert refused.code == 2
    assert "no strategy owns namespace" in refused.err
    refused = cli("migrate", "--store", "transactional")
    assert refused.code == 2
    assert "strategy 'lua' cannot use the transactional store, only with scripted" in refused.err
    both = cli("migrate", "--to", "watch", "--store", "transactional")
    said = f"namespace {name} uses the transactional store now, not the scripted one\n"
    assert both.out.startswith(f"{said}namespace {name} is owned by strategy watch now: 1 tasks moved from lua in ")
    status = cli("status", "--json").json
    assert (status["strategy"], status["store"]) == ("watch", "transactional")
    assert "strategy watch, transactional store" in " ".join(cli("status").out.split())
    [found] = [one for one in cli("doctor", "--json").json["findings"] if one["name"] == "store"]
    assert (found["value"], found["verdict"]) == ("transactional", "warning")
    assert f"dueq migrate --store scripted --namespace {name}" in found["advice"]
    alone = cli("migrate", "--store", "scripted")
    assert alone.out == (
        f"namespace {name} uses the scripted store now, not the transactional one\n"
        f"namespace {name} is owned by strategy watch: nothing to move\n"
    )
    assert cli("migrate", "--store", "scripted", "--json").json["moved"] == 0
    assert cli("cancel", "a").code == 0


def test_the_format_of_records(cli: Cli, world: World) -> None:
    world.redis.hset(world.keys.plain("meta"), "format", "1")
    world.schedule("a", delay_us=HOUR)
    name = world.keys.namespace
    [found] = [one for one in cli("doctor", "--json").json["findings"] if one["name"] == "record format"]
    assert (found["value"], found["verdict"]) == ("1", "ok")
    assert f"dueq migrate --format {NEWEST} --namespace {name}" in found["advice"]
    answer = cli("migrate", "--format", NEWEST)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        f"new tasks of namespace {name} have records of format {NEWEST} now, not 1\n"
        f"namespace {name} is owned by strategy lua: nothing to move\n"
    )
    [found] = [one for one in cli("doctor", "--json").json["findings"] if one["name"] == "record format"]
    assert (found["value"], found["advice"]) == (NEWEST, "")
    assert cli("migrate", "--format", NEWEST, "--json").json["format"] == NEWEST
    back = cli("migrate", "--format", "1")
    assert back.code == 2
    assert "it cannot go back to 1" in back.err
    assert cli("cancel", "a").code == 0


def test_to_nowhere(cli: Cli) -> None:
    nowhere = cli("migrate")
    assert nowhere.code == 2
    assert "--to for another strategy, --store for another store" in " ".join(nowhere.err.replace("│", " ").split())


def test_workers_that_hold_tasks_are_told_of(cli: Cli, world: World) -> None:
    world.ready("a")
    world.started("w1")
    answer = cli("migrate", "--to", "tmpset")
    assert answer.code == 0
    assert "1 workers hold 1 tasks" in answer.err


def test_what_is_refused(cli: Cli, world: World) -> None:
    world.schedule("a", delay_us=HOUR)
    unknown = cli("migrate", "--to", "nonsense")
    assert unknown.code == 2
    assert "choose one of lua, keyspace, tmpset, buckets, watch" in unknown.err
    assert migration.begin(visitor(world), "watch") is not None
    answer = cli("migrate", "--to", "lua")
    assert answer.code == 2
    assert "finish it first with dueq migrate --to watch" in answer.err
    cancel = cli("cancel", "a")
    assert cancel.code == 2
    assert "try again when that is over" in cancel.err
    assert cli("run", "nonsense:app").code == 2
    assert cli("migrate", "--to", "watch", "--json").json["moved"] == 1
    assert cli("cancel", "a").code == 0


def test_a_server_that_is_full(cli: Cli, world: World) -> None:
    world.schedule(*(f"t{number}" for number in range(10)), delay_us=HOUR)
    assert migration.begin(visitor(world), "watch") is not None
    world.redis.config_set("maxmemory", 1)
    try:
        answer = cli("migrate", "--to", "watch")
    finally:
        world.redis.config_set("maxmemory", 0)
    assert answer.code == 3
    assert "maxmemory" in answer.err
    assert cli("migrate", "--to", "watch", "--json").json["moved"] == 10


def test_one_that_is_interrupted_says_how_to_go_on(cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.schedule("a", delay_us=HOUR)

    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(migration.Migration, "_end", interrupted)
        answer = cli("migrate", "--to", "buckets")
    assert answer.code == 130
    assert "run dueq migrate --to buckets again" in answer.err
    assert cli("migrate", "--to", "buckets", "--json").json["moved"] == 0
    assert cli("cancel", "a").code == 0


def test_a_server_that_cannot_carry_the_strategy(tmp_path: Path) -> None:
    server = next((one for one in all_servers() if one.name.startswith("redis-6")), None)
    if not isinstance(server, Server):
        pytest.skip("there is no Redis 6")
    with running(server, tmp_path, 'rename-command EVAL ""') as url:
        cli = Cli({"DUEQ_REDIS_URL": url})
        assert cli("migrate", "--to", "watch").code == 0
        answer = cli("migrate", "--to", "lua")
        assert answer.code == 2
        assert "strategy 'lua' cannot run on this server: it lacks scripts" in answer.err
        assert cli("migrate", "--to", "watch").out.endswith("watch: nothing to move\n")


@pytest.mark.parametrize("strategy", strategies.names())
def test_purge_leaves_no_key_of_any_strategy(made: Callable[[str], tuple[World, Cli]], strategy: str) -> None:
    world, cli = made(strategy)
    found = scene(world)
    assert index_of(world, strategy) != []
    assert cli("purge", "--yes", "--force", "--json").json["tasks"] >= found.indexed
    assert world.found() == []


@pytest.mark.parametrize(
    ("old", "new"), [("lua", "buckets"), ("buckets", "tmpset"), ("tmpset", "keyspace"), ("keyspace", "watch")]
)
def test_purge_of_a_namespace_that_is_half_moved(
    made: Callable[[str], tuple[World, Cli]], old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, cli = made(old)
    scene(world)
    begun = migration.begin(visitor(world), new)
    assert begun is not None
    with monkeypatch.context() as patch:
        patch.setattr(migration.Migration, "_end", lambda self: None)
        begun.run()
    assert index_of(world, old) != []
    assert index_of(world, new) != []
    assert cli("purge", "--yes", "--force").code == 0
    assert world.found() == []
