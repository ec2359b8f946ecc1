"""Work that is too much for one short step is done in several, and is complete all the same."""

from __future__ import annotations

import pytest
from support.world import LEASE_US, World

from dueq.core.clock import US
from dueq.core.config import MOST_PAYLOAD, Settings
from dueq.core.errors import ConfigurationError
from dueq.core.schema.bounds import MOST_BYTES, MOST_TASKS, first_step, steps
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.store.values import Loss, NewTask, Outcome

LARGE = b'["f",["' + b"x" * 60_000 + b'"]]'
IDS = [f"t{number}" for number in range(7)]
MANY = [f"m{number}" for number in range(130)]


def ready(world: World, names: list[str], body: bytes) -> None:
    results = world.store.schedule([NewTask(name, "q", 0, body, True) for name in names])
    assert [result.existing for result in results] == [""] * len(names)
    world.note(*names)
    world.dispatch_all()


def held(world: World, names: list[str], body: bytes) -> list[Record]:
    """All of them, claimed by one worker, the first started."""
    ready(world, names, body)
    found: list[Record] = []
    while len(found) < len(names):
        step = world.take("w1", want=len(names), start=found[0] if found else None)
        new = [claim for claim in (step.started, *step.held) if claim is not None and claim not in found]
        assert new, "a step takes one at least"
        found += new
    assert {claim.id for claim in found} == set(names)
    return found


@pytest.fixture(params=["many", "large"])
def names_and_body(request: pytest.FixtureRequest) -> tuple[list[str], bytes]:
    return (MANY, b'["f",[]]') if request.param == "many" else (IDS, LARGE)


def test_everything_is_scheduled_and_what_is_there_is_told_in_order(
    world: World, names_and_body: tuple[list[str], bytes]
) -> None:
    names, body = names_and_body
    world.note(*names, "new")
    world.store.schedule([NewTask(name, "q", 60 * US, body, True) for name in names])
    again = [*names[:3], "new", *names[3:]]
    results = world.store.schedule([NewTask(name, "q", 0, b"[]", True) for name in again])
    assert [result.existing for result in results] == ["" if name == "new" else "scheduled" for name in again]


def test_a_worker_is_given_all_and_no_more_than_a_step_may_move(
    world: World, names_and_body: tuple[list[str], bytes]
) -> None:
    names, body = names_and_body
    ready(world, names, body)
    step = world.take("w1", want=1000)
    taken = [claim for claim in (step.started, *step.held) if claim is not None]
    assert 1 <= len(taken) <= MOST_TASKS
    if world.scripted:  # the other store claims in as many steps as it takes
        assert sum(len(claim.body) for claim in taken) <= MOST_BYTES


def test_leases_are_extended_one_by_one(world: World, names_and_body: tuple[list[str], bytes]) -> None:
    claims = held(world, *names_and_body)
    assert world.settle("w1", Outcome(claims[4], "ack")) == "done"
    kept = [claim is not claims[4] for claim in claims]
    assert world.store.extend("w1", claims, LEASE_US) == kept


def test_what_is_held_is_released(world: World, names_and_body: tuple[list[str], bytes]) -> None:
    claims = held(world, *names_and_body)
    waiting = [claim for claim in claims if claim.state == State.HELD]
    assert world.store.release("w1", waiting) == len(waiting)
    assert world.states()["ready"] == len(waiting)


def test_all_of_a_lost_worker_is_given_back(world: World, names_and_body: tuple[list[str], bytes]) -> None:
    claims = held(world, *names_and_body)
    lost = world.store.give_back(Loss("w1", "worker_lost", 99))
    assert {one.id for one in lost} == {claim.id for claim in claims}
    assert world.states()["ready"] == len(claims)


def test_all_leases_that_ran_out_are_taken_back(world: World, names_and_body: tuple[list[str], bytes]) -> None:
    names, body = names_and_body
    ready(world, names, body)
    for number in range(len(names)):
        world.started(f"w{number % 5}", lease_us=1)
    lost: list[str] = []
    for _ in names:
        reaped = world.store.reap(100, LEASE_US, 99)
        lost += [one.id for one in reaped.lost]
        assert (len(reaped.lost) - 1) * len(body) <= MOST_BYTES, "a short step"
        if reaped.next_us is None or reaped.next_us > reaped.now_us:
            break
    assert sorted(lost) == sorted(names)


@pytest.mark.parametrize("how", ["revive", "discard"])
def test_all_dead_letters_are_dealt_with(world: World, how: str, names_and_body: tuple[list[str], bytes]) -> None:
    claims = held(world, *names_and_body)
    for claim in claims:
        assert world.settle("w1", Outcome(claim, "dead", reason="why")) == "done"
    names = [claim.id for claim in claims]
    act = world.store.revive if how == "revive" else world.store.discard
    assert act([*names[:2], "unknown", *names[2:]]) == len(names)
    assert world.states()["dead"] == 0


def test_a_list_of_void_entries_ends_in_the_task_behind_them(world: World) -> None:
    """A step looks at so many entries; what is behind them wakes a worker again."""
    ready(world, [*MANY, "last"], b'["f",[]]')
    for name in MANY:
        assert world.store.cancel(name)
    step = world.take("w1", want=0)
    for _ in range(5):
        step = world.take("w1")
        assert step.dropped == []
        if step.started is not None:
            break
        assert world.redis.llen(world.keys.of("wakeup", "q")), "somebody has to look again"
    assert step.started is not None
    assert step.started.id == "last"


def test_steps_are_bounded_and_hold_one_item_at_least() -> None:
    assert [list(some) for some in steps([3, 4, 5], lambda size: size, most=2)] == [[3, 4], [5]]
    assert list(steps([], len)) == []
    assert [len(some) for some in steps([b""] * (2 * MOST_TASKS + 5), len)] == [MOST_TASKS, MOST_TASKS, 5]
    half = MOST_BYTES // 2
    assert [list(some) for some in steps([half, half, 1, 3 * half, 1], lambda size: size)] == [
        [half, half],
        [1],
        [3 * half],
        [1],
    ]
    assert first_step([]) == 0


def test_a_payload_that_would_hold_redis_up_is_refused_at_configuration() -> None:
    assert Settings(max_payload=MOST_PAYLOAD).max_payload == MOST_PAYLOAD
    with pytest.raises(ConfigurationError, match="at most 262144"):
        Settings(max_payload=MOST_PAYLOAD + 1)
