"""No step holds Redis for longer than a millisecond of its CPU, at the worst input that it takes.

A step is a script, a transaction or a command. Redis measures it (INFO commandstats). The quickest of several runs
counts, since other work of the machine can only make a step look longer. The name of a case begins with the name of its
script, or of its method of Store or Strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.older import scriptless
from support.servers import Server, running
from support.world import SCRIPTED, TRANSACTIONAL, World

import dueq
from dueq import strategies
from dueq.core.store.base import Store
from dueq.core.store.strategy import ScriptedStrategy, TransactionalStrategy

from . import steps_of_tasks, steps_of_upkeep

MOST_US = 1000
RUNS = 10

STEPS = steps_of_tasks.STEPS | steps_of_upkeep.STEPS

_NO_STEPS = {"channel", "time_us", "close", "timers", "add", "remove", "head", "leads", "contains"}
"""They send nothing by themselves, or go by a script, or stand in a step, that has a case under another name."""

_OF_INDEX = (
    "schedule",
    "dispatch",
    "clear",
    "purge",
    "revive",
    "cancel",
    "reschedule",
    "mend",
    "census",
    "pages",
    "missing",
    "recover",
)
_SCRIPTS_ONLY = ("keep_crowd", "write_crowd", "mend_heads")


def _step(name: str) -> str:
    return name.replace(",", " ").split()[0]


def _matters(store: str, strategy: str, name: str) -> bool:
    """Not what is the same script, or transaction, under another strategy; many queues are for where scripts are."""
    if _step(name) == "poke":
        return strategy == "keyspace"
    if _step(name) in _SCRIPTS_ONLY:
        return strategy in SCRIPTED
    if name.endswith("many queues") and store == "transactional":
        return False
    return strategy == ("lua" if store == "scripted" else "watch") or _step(name) in _OF_INDEX


CASES = [
    (store, strategy, name)
    for store, found in (("scripted", strategies.names()), ("transactional", TRANSACTIONAL))
    for strategy in found
    for name in STEPS
    if _matters(store, strategy, name)
]


@pytest.fixture(scope="module")
def without_scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that forbids scripts."""
    server = scriptless()
    assert isinstance(server, Server)
    with running(server, tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(redis_url: str, without_scripts: str, store: str) -> str:
    """A server where a namespace has the store ``store``."""
    return redis_url if store == "scripted" else without_scripts


def usec(world: World) -> dict[str, tuple[int, int]]:
    """Of each command: how often it was called, and how many microseconds that took in all."""
    found: Any = world.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): (row["calls"], row["usec"]) for name, row in found.items()}


def longest_us(world: World, act: Callable[[], object]) -> float:
    """How long Redis was held by the steps of ``act``: the mean of those of the dearest kind."""
    before = usec(world)
    act()
    spent = {
        name: (calls - before.get(name, (0, 0))[0], us - before.get(name, (0, 0))[1])
        for name, (calls, us) in usec(world).items()
    }
    return max((us / calls for name, (calls, us) in spent.items() if calls and name != "info"), default=0.0)


def test_every_step_has_a_case() -> None:
    """Whoever writes a script, or a step of a store or strategy, says here what its worst input is."""
    scripts = {
        path.stem
        for path in Path(dueq.__file__).parent.rglob("*.lua")
        if "-- KEYS[1] prefix" in path.read_text("utf-8").splitlines()
    }
    methods = (
        Store.__abstractmethods__ | ScriptedStrategy.__abstractmethods__ | TransactionalStrategy.__abstractmethods__
    )
    cases = {name.replace(",", " ").split()[0] for name in STEPS}
    assert len(scripts) > 20
    assert (scripts - {"add"}) | (methods - _NO_STEPS) <= cases


@pytest.mark.alone
@pytest.mark.leaves_keys
@pytest.mark.parametrize(("store", "strategy_name", "name"), CASES)
def test_no_step_holds_redis_for_longer_than_a_millisecond(world: World, store: str, name: str) -> None:
    assert world.strategy.store == store
    took: list[int] = []
    for run in range(RUNS):
        world.wipe()
        took.append(round(longest_us(world, STEPS[name](world, f"r{run}"))))
        if took[-1] <= MOST_US:
            return
    pytest.fail(f"the quickest of {RUNS} runs held Redis for {min(took)} us, more than {MOST_US}")
