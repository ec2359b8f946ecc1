"""The steps of upkeep (repair, clean-up, reading), each at the worst input that it takes. See test_steps.py."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from support.world import LEASE_US, World

from dueq.admin.housekeeping import purge
from dueq.core.client.transactions import Transactions
from dueq.core.clock import US
from dueq.core.schema.journal import Journal
from dueq.core.schema.states import State
from dueq.core.store.crowds import Crowd
from dueq.core.store.strategy import Entry
from dueq.core.store.values import NewTask, Step
from dueq.core.upkeep import foreign_keys

from .steps_of_tasks import LARGE, LONGEST, MANY, QUEUES, SMALL, Case, dead, held, ids, scheduled

CROWD = 100_000
FEW = 20
NOTED = 5000


def crowd(world: World, run: str, due_us: int) -> None:
    """Very many tasks of one second, in the index only."""
    trips = Transactions(world.main.client)
    names = [f"{run}-crowd-{number}" for number in range(CROWD)]
    for first, last in pairwise([*range(0, CROWD, 1000), CROWD]):
        trips.trip(world.strategy.add([Entry("q", name, due_us) for name in names[first:last]]))


def crowded(act: Callable[[World, str], object], delay_us: int = 3600 * US) -> Case:
    """On one task in the middle of them."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        scheduled(world, [run], delay_us=delay_us)
        record = world.store.record(run)
        assert record is not None
        crowd(world, run, record.due_us)
        return lambda: act(world, run)

    return prepare


def on_one(act: Callable[[World, str], object], body: bytes = LONGEST, delay_us: int = 3600 * US) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        scheduled(world, [run], body=body, delay_us=delay_us)
        return lambda: act(world, run)

    return prepare


def running(act: Callable[[World, str, int], object]) -> Case:
    """On a task that runs, and its token."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        [claim] = held(world, run, 1, body=LONGEST)
        return lambda: act(world, claim.id, claim.token)

    return prepare


def put_aside(act: Callable[[World, str], object], body: bytes = LARGE, count: int = FEW) -> Case:
    """Due tasks that nobody here knows, by then put aside."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        unknown(body, count)(world, run)()
        return lambda: act(world, ids(run, count)[0])

    return prepare


def unknown(body: bytes, count: int) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        world.store.knows(["another"])
        scheduled(world, ids(run, count), body=body)
        world.dispatch_all()
        return lambda: world.take("w1", want=1000)

    return prepare


def take_back(world: World, run: str) -> None:
    world.store.knows(["another", "f"])
    world.take("w2", want=1000)


def again(world: World, task_id: str, token: int) -> object:
    return world.store.again(NewTask(task_id, "q", 0, LONGEST, True), token)


def forget_again(world: World, run: str) -> Callable[[], object]:
    [claim] = held(world, run, 1)
    again(world, claim.id, claim.token)
    return lambda: world.store.forget_again(claim.id, claim.token)


def mend_again(world: World, run: str) -> Callable[[], object]:
    [claim] = held(world, run, 1)
    again(world, claim.id, claim.token)
    world.redis.hdel(world.keys.record(claim.id), claim.id)
    return lambda: world.store.mend_again(claim.id)


def mend(state: str, body: bytes = LONGEST) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        task_id = ids(run, 1)[0]
        if state == State.SCHEDULED:
            scheduled(world, [task_id], body=body, delay_us=3600 * US)
        elif state == State.UNCLAIMED:
            unknown(body, 1)(world, run)()
        elif state == State.DEAD:
            dead(world, run, body, 1)
        else:
            held(world, run, 1, body=body)
        raw: Any = world.redis.hget(world.keys.record(task_id), task_id)
        return lambda: world.store.mend(task_id, raw)

    return prepare


def mend_queues(world: World, run: str) -> Callable[[], object]:
    some = QUEUES[:100]
    for queue in some:
        world.redis.zadd(world.keys.of("leased_before", queue), dict.fromkeys(ids(run, 100), 1))
        world.redis.rpush(world.keys.of("ready", queue), *ids(run, 10))
    return lambda: world.store.mend_queues(some)


def ready_in(queues: list[str], act: Callable[[World], object]) -> Case:
    def prepare(world: World, run: str) -> Callable[[], object]:
        world.store.schedule([NewTask(f"{run}-{queue}", queue, 0, SMALL, True) for queue in queues])
        world.dispatch_all()
        return lambda: act(world)

    return prepare


def forget_queue(world: World, run: str) -> Callable[[], object]:
    scheduled(world, [run])
    assert world.store.cancel(run)
    return lambda: world.store.forget_queue("q", 1)


def forget_revoked(world: World, run: str) -> Callable[[], object]:
    scheduled(world, ids(run))
    world.dispatch_all()
    for name in ids(run):
        assert world.store.cancel(name)
    return lambda: world.store.forget_revoked(dict.fromkeys(ids(run), 1))


def keep_crowd(world: World, run: str) -> Callable[[], object]:
    names = Crowd([f"{run}-{number}" for number in range(10_000)], in_turns=True)
    return lambda: world.store.advance(Step("w1", names, LEASE_US))


def shard(body: bytes, count: int) -> Case:
    """A hash of records, as long as it can be: all that matters is what it holds."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        key = next(iter(world.keys.records()))
        for name in ids(run, count):
            world.redis.hset(key, name, body)
        return lambda: world.store.shards([key])

    return prepare


def mixed_shard(world: World, run: str) -> Callable[[], object]:
    """The first records of the hash are short, and say nothing of the others."""
    read = shard(LARGE, 250)(world, run)
    key = next(iter(world.keys.records()))
    for _ in range(50):  # what is written anew may change its place
        first = world.redis.hkeys(key)[:4]
        if set(world.redis.hmget(key, first)) == {SMALL}:
            return read
        for name in first:
            world.redis.hset(key, name, SMALL)
    raise AssertionError("the short records are not the first")


def purge_shard(world: World, run: str) -> Callable[[], object]:
    shard(LARGE, 250)(world, run)
    return lambda: purge(world.main)


def journal(world: World, run: str) -> Callable[[], object]:
    notes = Journal(world.main.client, world.keys, "w1")
    for number, name in enumerate(ids(run, 5000)):
        notes.note(number, "dead", name, number, reason="x" * 2000)
    return notes.flush


def damaged(world: World, run: str) -> Callable[[], object]:
    world.redis.hset(world.keys.record(run), run, LONGEST)
    return lambda: world.store.set_apart(run, LONGEST)


def names_known(world: World, run: str) -> Callable[[], object]:
    world.store.knows([f"{run}.{number}" for number in range(1000)])
    return lambda: world.store.mend_names()


def noted(key: str, act: Callable[[World], object]) -> Case:
    """As many notes, by the ids of tasks, as an audit reads at once."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        world.redis.hset(world.keys.plain(key), mapping=dict.fromkeys(ids(run, NOTED), "1"))
        return lambda: act(world)

    return prepare


def keys_of_another_type(world: World, run: str) -> Callable[[], object]:
    scheduled(world, [run])
    for key in (world.keys.plain("leased"), world.keys.of("dead", "q")):
        world.redis.rpush(key, *ids(run, 4000))
    return lambda: list(foreign_keys.put_apart(world.main))


def dead_letters(world: World, run: str) -> Callable[[], object]:
    dead(world, run, LARGE, FEW)
    return lambda: world.store.dead("q", 0, 100)


def leases(world: World, run: str) -> Callable[[], object]:
    world.redis.zadd(world.keys.plain("leased"), {f"q:{name}": 1 for name in ids(run, 5000)})
    return world.store.leases


def looked_at(act: Callable[[World], object]) -> Case:
    """Beside a crowd, and queues by the thousand."""

    def prepare(world: World, run: str) -> Callable[[], object]:
        world.store.schedule([NewTask(f"{run}-{queue}", queue, 3600 * US, SMALL, True) for queue in QUEUES])
        crowd(world, run, world.now_us() + 3600 * US)
        return lambda: act(world)

    return prepare


def half_void(world: World, run: str) -> Callable[[], object]:
    """Due tasks of one second, of which every other has been cancelled before."""
    scheduled(world, ids(run), delay_us=US // 10)
    for name in ids(run)[::2]:
        assert world.store.cancel(name)
    world.clock.ahead_us += 3 * US
    return lambda: world.strategy.dispatch(1000)


STEPS: dict[str, Case] = {
    "cancel": on_one(lambda world, run: world.store.cancel(run)),
    "cancel crowded": crowded(lambda world, run: world.store.cancel(run)),
    "cancel put aside": put_aside(lambda world, name: world.store.cancel(name)),
    "reschedule": on_one(lambda world, run: world.store.reschedule(run, US, relative=True)),
    "reschedule crowded": crowded(lambda world, run: world.store.reschedule(run, US, relative=True)),
    "dispatch half void": half_void,
    "advance unknown small": unknown(SMALL, MANY),
    "advance unknown large": unknown(LARGE, FEW),
    "advance, taken back": put_aside(take_back, SMALL, 200),
    "again": running(again),
    "forget_again": forget_again,
    "mend_again": mend_again,
    "kept_again": running(lambda world, task_id, token: world.store.kept_again(task_id)),
    "alive": on_one(lambda world, run: world.store.alive("supervisor.1"), SMALL),
    "end_sleep": on_one(lambda world, run: world.store.end_sleep("worker.1"), SMALL),
    "publish_names": on_one(lambda world, run: world.store.knows([f"{run}.{number}" for number in range(1000)]), SMALL),
    "knows": on_one(lambda world, run: world.store.knows([f"{run}.{number}" for number in range(1000)]), SMALL),
    "mend_queues": mend_queues,
    "mend_heads": ready_in(QUEUES[:100], lambda world: world.strategy.mend(QUEUES[:100])),
    "wake_again": ready_in(QUEUES[:100], lambda world: world.store.wake_again(QUEUES)),
    "rehearse": on_one(lambda world, run: world.store.rehearse("q", world.now_us()), SMALL),
    "busy": ready_in(QUEUES, lambda world: world.store.busy()),
    "oldest_ready": ready_in(QUEUES, lambda world: world.store.oldest_ready()),
    "depths": ready_in(QUEUES, lambda world: world.store.depths(QUEUES)),
    "depth": ready_in(QUEUES[:1], lambda world: world.store.depth(QUEUES[0])),
    "queues": ready_in(QUEUES, lambda world: world.store.queues()),
    "unclaimed": put_aside(lambda world, name: world.store.unclaimed()),
    "forget_queue": forget_queue,
    "forget_revoked": forget_revoked,
    "keep_crowd": keep_crowd,
    "write_crowd": keep_crowd,
    "poke": on_one(lambda world, run: world.strategy.dispatch(100), SMALL),
    "record": on_one(lambda world, run: world.store.record(run)),
    "shards small": shard(SMALL, 250),
    "shards large": shard(LARGE, 250),
    "shards largest": shard(LONGEST, 40),
    "shards mixed": mixed_shard,
    "purge large": purge_shard,
    "journal": journal,
    "quarantine": damaged,
    "set_apart": damaged,
    "wake_dispatcher": on_one(lambda world, run: world.store.wake_dispatcher(), SMALL),
    "raws": on_one(lambda world, run: world.store.raws([run] * 200)),
    "void_entries": noted("revoked", lambda world: world.store.void_entries(NOTED)),
    "waiting_again": noted("again", lambda world: world.store.waiting_again(NOTED)),
    "list_queue": on_one(lambda world, run: world.store.list_queue(run), SMALL),
    "mend_names": names_known,
    "foreign": keys_of_another_type,
    "dead": dead_letters,
    "leases": leases,
    "census": looked_at(lambda world: world.strategy.census(QUEUES)),
    "pages": looked_at(lambda world: list(world.strategy.pages("q"))),
    "missing": looked_at(lambda world: world.strategy.missing([Entry("q", f"x{at}", 1) for at in range(10_000)])),
    "recover": looked_at(lambda world: world.strategy.recover(silent_for=0)),
    **{f"mend {state}": mend(state) for state in "SHLUD"},
}
