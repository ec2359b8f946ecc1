"""The steps that a task goes through, each at the worst input that it takes. See test_steps.py."""

from __future__ import annotations

from collections.abc import Callable

from support.world import LEASE_US, World

from dueq.admin.housekeeping import purge
from dueq.core.clock import US
from dueq.core.schema.bounds import MOST_NAMED_QUEUES
from dueq.core.schema.record import Record
from dueq.core.schema.tail import tail
from dueq.core.store.scripted.channel import step_arguments
from dueq.core.store.scripted.store import ScriptedStore
from dueq.core.store.values import Loss, NewTask, Outcome, Step
from dueq.core.worker.outcomes import MOST_PUT_OFF

MANY, FEW = 400, 20
QUEUES = [f"queue{number}" for number in range(2000)]
SMALL = b'["f",[]]'
LARGE = b'["f",["' + b"x" * 60_000 + b'"]]'
LONGEST = b'["f",["' + b"x" * (256 * 1024 - 20) + b'"]]'

Case = Callable[[World, str], Callable[[], object]]
"""Prepares the worst input, with ids that begin with the text; returns what is measured."""


def ids(run: str, count: int = MANY) -> list[str]:
    return [f"{run}-{number}-{'x' * 40}" for number in range(count)]


def scheduled(world: World, names: list[str], *, body: bytes = SMALL, delay_us: int = 0) -> None:
    world.store.schedule([NewTask(name, "q", delay_us, body, True) for name in names])


def held(world: World, run: str, count: int, *, body: bytes = SMALL) -> list[Record]:
    """So many claims of one worker, one of them started."""
    scheduled(world, ids(run, count), body=body)
    world.dispatch_all()
    found: list[Record] = []
    while len(found) < count:
        step = world.take("w1", want=count - len(found))
        found += [claim for claim in (step.started, *step.held) if claim is not None]
    return found


def schedule(body: bytes, delay_us: int = 3600 * US) -> Case:
    return lambda world, run: lambda: scheduled(world, ids(run), body=body, delay_us=delay_us)


def schedule_with_tails(world: World, run: str) -> Callable[[], object]:
    extra = tail("+1000000", "{" + ",".join(f'"{number:03}":"{"x" * 20}"' for number in range(34)) + "}")
    tasks = [NewTask(name, "q", 3600 * US, SMALL, True, extra) for name in ids(run)]
    return lambda: world.store.schedule(tasks)


def dispatch(world: World, run: str) -> Callable[[], object]:
    scheduled(world, ids(run))
    return lambda: world.strategy.dispatch(1000)


def take(body: bytes, count: int = MANY) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        scheduled(world, ids(run, count), body=body)
        world.dispatch_all()
        return lambda: world.take("w1", want=1000)

    return prepare


def take_in_doubt(world: World, run: str) -> Callable[[], object]:
    """The step of a worker whose supervisor is silent: it wakes others, for as many queues as it may name."""
    queues = QUEUES[:MOST_NAMED_QUEUES]
    world.store.schedule([NewTask(f"{run}-{queue}", queue, 0, SMALL, True) for queue in queues])
    world.dispatch_all()
    for queue in queues:
        world.redis.delete(world.keys.of("wakeup", queue))
    store, step = world.store, Step("w1", queues, LEASE_US, 1000)
    if not isinstance(store, ScriptedStore):
        return lambda: store.advance(step)
    return lambda: store._advance(*step_arguments(step, 0, store._names, "supervisor.1"))


def for_many(body: bytes, count: int, acks: int) -> Case:
    """Most of what a worker's step may do: acks of its oldest tasks, and all that it may take, started."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        claims = held(world, run, acks, body=body)
        scheduled(world, ids(f"{run}-next", count), body=body)
        world.dispatch_all()
        return lambda: world.take("w1", want=1000, acks=claims, start_all=True)

    return prepare


def take_void(world: World, run: str) -> Callable[[], object]:
    """A ready list of which everything has been cancelled."""
    scheduled(world, ids(run, 2000))
    world.dispatch_all()
    for name in ids(run, 2000):
        assert world.store.cancel(name)
    return lambda: world.take("w1", want=1)


def take_half_void(world: World, run: str) -> Callable[[], object]:
    scheduled(world, ids(run, 2000))
    world.dispatch_all()
    for name in ids(run, 2000)[::2]:
        assert world.store.cancel(name)
    return lambda: world.take("w1", want=1000)


def settle(body: bytes, count: int) -> Case:
    """One of many that the worker holds, in the middle."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        claims = held(world, run, count, body=body)
        return lambda: world.settle("w1", Outcome(claims[count // 2], "retry", delay_us=US))

    return prepare


def extend(body: bytes, count: int) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        claims = held(world, run, count, body=body)
        return lambda: world.store.extend("w1", claims, LEASE_US)

    return prepare


def release(body: bytes, count: int) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        claims = held(world, run, count, body=body)
        return lambda: world.store.release("w1", claims)

    return prepare


def give_back(body: bytes, count: int) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        claims = held(world, run, count, body=body)
        begun = [*(claim.token for claim in claims), *range(1000 - count)]
        return lambda: world.store.give_back(Loss("w1", "worker_lost", 1, 5, "was killed", begun))

    return prepare


def reap(body: bytes, count: int) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        scheduled(world, ids(run, count), body=body)
        world.dispatch_all()
        for number in range(count):
            world.take(f"w{number % 50}", lease_us=1)
        return lambda: world.store.reap(100, LEASE_US, 3)

    return prepare


def dead(world: World, run: str, body: bytes, count: int) -> list[str]:
    for claim in held(world, run, count, body=body):
        world.settle("w1", Outcome(claim, "dead", reason="why" * 600))
    return ids(run, count)


def revive(body: bytes, count: int) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        names = dead(world, run, body, count)
        return lambda: world.store.revive(names)

    return prepare


def discard(body: bytes, count: int) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        names = dead(world, run, body, count)
        return lambda: world.store.discard(names)

    return prepare


def schedule_again(world: World, run: str) -> Callable[[], object]:
    """Small tasks, under ids that large ones have."""
    scheduled(world, ids(run), body=LARGE, delay_us=3600 * US)
    return lambda: scheduled(world, ids(run))


def clear(world: World, run: str) -> Callable[[], object]:
    scheduled(world, ids(run, 4000), delay_us=3600 * US)
    return lambda: world.strategy.clear(["q"])


def forget(world: World, run: str) -> Callable[[], object]:
    dead(world, run, SMALL, MANY)
    scheduled(world, ids(f"{run}-ready", 4000))
    world.dispatch_all()
    return lambda: purge(world.main)


STEPS: dict[str, Case] = {
    "schedule small": schedule(SMALL),
    "schedule due": schedule(SMALL, 0),
    "schedule with tails": schedule_with_tails,
    "schedule large": schedule(LARGE),
    "schedule largest": lambda world, run: lambda: scheduled(world, ids(run, 3), body=LONGEST, delay_us=US * 3600),
    "dispatch": dispatch,
    "advance small": take(SMALL),
    "advance large": take(LARGE, FEW),
    "advance largest": take(LONGEST, 3),
    "advance for many small": for_many(SMALL, MANY, MOST_PUT_OFF),
    "advance for many large": for_many(LARGE, FEW, 1),
    "advance in doubt": take_in_doubt,
    "advance void": take_void,
    "advance half void": take_half_void,
    "schedule used ids": schedule_again,
    "clear": clear,
    "purge": forget,
}
for _name, _make in {
    "settle": settle,
    "extend": extend,
    "release": release,
    "give_back": give_back,
    "reap": reap,
    "revive": revive,
    "discard": discard,
}.items():
    STEPS |= {f"{_name} small": _make(SMALL, MANY), f"{_name} large": _make(LARGE, FEW)}
    STEPS |= {f"{_name} largest": _make(LONGEST, 2)}


def many_queues(of: Case) -> Case:
    """The same beside 2,000 queues that have nothing to do yet."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        world.store.schedule([NewTask(f"far-{queue}", queue, 3600 * US, SMALL, True) for queue in QUEUES])
        return of(world, run)

    return prepare


def count(world: World, run: str) -> Callable[[], object]:
    return world.store.producer_counts


for _name in ("dispatch", "advance small", "give_back small", "reap small", "schedule due"):
    STEPS[f"{_name}, many queues"] = many_queues(STEPS[_name])
STEPS["producer_counts, many queues"] = many_queues(count)
