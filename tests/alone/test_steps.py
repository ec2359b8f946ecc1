"""No step holds Redis for longer than a millisecond of its CPU, at the worst input that it takes (CONTRACT.md, G7).

A step is a script, a transaction or a command. Redis measures it (INFO commandstats); of several runs the quickest
counts, since everything else that the machine does can only make a step look longer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.world import LEASE_US, World

from dueq.core.clock import US
from dueq.core.codec import Record
from dueq.core.store.base import NewTask, Outcome

MOST_US = 1000
RUNS = 7
MANY = 400
LARGE = b'["f",["' + b"x" * 60_000 + b'"]]'
LONGEST = b'["f",["' + b"x" * (256 * 1024 - 20) + b'"]]'

Step = Callable[[World, str], Callable[[], object]]
"""Prepares the worst input, with ids that begin with the text; returns what is measured."""


def ids(run: str, count: int = MANY) -> list[str]:
    return [f"{run}-{number}-{'x' * 40}" for number in range(count)]


def scheduled(world: World, names: list[str], *, body: bytes = b'["f",[]]', delay_us: int = 0) -> None:
    world.store.schedule([NewTask(name, "q", delay_us, body, True) for name in names])


def held(world: World, run: str, count: int, *, body: bytes = b'["f",[]]') -> list[Record]:
    """So many claims of one worker, one of them started."""
    scheduled(world, ids(run, count), body=body)
    world.dispatch_all()
    found: list[Record] = []
    while len(found) < count:
        step = world.take("w1", want=count - len(found))
        found += [claim for claim in (step.started, *step.held) if claim is not None]
    return found


def schedule(body: bytes, delay_us: int = 3600 * US) -> Step:
    return lambda world, run: lambda: scheduled(world, ids(run), body=body, delay_us=delay_us)


def dispatch(world: World, run: str) -> Callable[[], object]:
    scheduled(world, ids(run))
    return lambda: world.strategy.dispatch(1000)


def take(body: bytes) -> Step:
    def prepare(world: World, run: str) -> Callable[[], object]:
        scheduled(world, ids(run), body=body)
        world.dispatch_all()
        return lambda: world.take("w1", want=1000)

    return prepare


def take_void(world: World, run: str) -> Callable[[], object]:
    """A ready list of which everything has been cancelled."""
    scheduled(world, ids(run, 2000))
    world.dispatch_all()
    for name in ids(run, 2000):
        assert world.store.cancel(name)
    return lambda: world.take("w1", want=1)


def settle_one_of_many(world: World, run: str) -> Callable[[], object]:
    claims = held(world, run, MANY, body=LARGE[:1000])
    return lambda: world.settle("w1", Outcome(claims[MANY // 2], "retry", delay_us=US))


def extend(world: World, run: str) -> Callable[[], object]:
    claims = held(world, run, MANY)
    return lambda: world.store.extend("w1", claims, LEASE_US)


def release(world: World, run: str) -> Callable[[], object]:
    claims = held(world, run, MANY, body=LARGE[:1000])
    return lambda: world.store.release("w1", claims)


def give_back(world: World, run: str) -> Callable[[], object]:
    claims = held(world, run, MANY, body=LARGE[:1000])
    begun = [claim.token for claim in claims] + list(range(600))
    return lambda: world.store.give_back("w1", "worker_lost", 1, 5, "was killed", begun)


def reap(world: World, run: str) -> Callable[[], object]:
    scheduled(world, ids(run), body=LARGE[:1000])
    world.dispatch_all()
    for number in range(MANY):
        world.take(f"w{number % 50}", lease_us=1)
    return lambda: world.store.reap(100, LEASE_US, 3)


def dead(world: World, run: str) -> list[str]:
    for claim in held(world, run, MANY, body=LARGE[:1000]):
        world.settle("w1", Outcome(claim, "dead", reason="why" * 600))
    return ids(run)


def revive(world: World, run: str) -> Callable[[], object]:
    names = dead(world, run)
    return lambda: world.store.revive(names)


def discard(world: World, run: str) -> Callable[[], object]:
    names = dead(world, run)
    return lambda: world.store.discard(names)


STEPS: dict[str, Step] = {
    "schedule small": schedule(b'["f",[]]'),
    "schedule due": schedule(b'["f",[]]', 0),
    "schedule large": schedule(LARGE),
    "schedule largest": lambda world, run: lambda: scheduled(world, ids(run, 3), body=LONGEST, delay_us=US * 3600),
    "dispatch": dispatch,
    "take small": take(b'["f",[]]'),
    "take large": take(LARGE),
    "take void": take_void,
    "settle": settle_one_of_many,
    "extend": extend,
    "release": release,
    "give_back": give_back,
    "reap": reap,
    "revive": revive,
    "discard": discard,
}


def usec(world: World) -> dict[str, tuple[int, int]]:
    """Of each command: how often it was called, and how many microseconds that took in all."""
    found: Any = world.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): (row["calls"], row["usec"]) for name, row in found.items()}


def longest_us(world: World, act: Callable[[], object]) -> float:
    """How long Redis was held by the steps of ``act``: the mean of those of the dearest kind."""
    before = usec(world)
    act()
    spent = {name: (calls - before.get(name, (0, 0))[0], us - before.get(name, (0, 0))[1]) for name, (calls, us) in usec(world).items()}
    return max(us / calls for name, (calls, us) in spent.items() if calls and name != "info")


@pytest.mark.alone
@pytest.mark.leaves_keys
@pytest.mark.parametrize("name", STEPS)
def test_no_step_holds_redis_for_longer_than_a_millisecond(world: World, name: str) -> None:
    quickest = []
    for run in range(RUNS):
        world.wipe()
        act = STEPS[name](world, f"r{run}")
        quickest.append(round(longest_us(world, act)))
    print(f"STEP {world.strategy.name} {name}: {min(quickest)} us {quickest}")
    assert min(quickest) <= MOST_US
