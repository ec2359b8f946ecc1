"""A dispatcher dies between any two commands, while another dispatcher and producers work in every gap.

Before each single command of the dying dispatcher (those of a pipeline are sent one by one) the others take a turn:
they schedule, cancel, reschedule, and dispatch. Then it dies before or after its k-th command, for every k. In the end
each task that was scheduled and not cancelled has run, once, and no entry of a ready list was dispatched twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from support.mortal import Fate, Killed, When, interrupted, mortal
from support.world import World

ACTOR = "dying"
_TURNS = ("dispatch", "schedule", "cancel", "reschedule", "schedule far", "nothing")


class Rivals:
    """Another dispatcher, and producers, that take turns."""

    def __init__(self, world: World, first: int) -> None:
        self.world = world
        self.strategy = world.actor().strategy
        self.store = world.actor().store
        self.expected: set[str] = set()
        self.cancelled: set[str] = set()
        self._turns = itertools.islice(itertools.cycle(_TURNS), first, None)
        self._numbers = itertools.count()

    def schedule(self, count: int, queue: str = "q") -> None:
        """Schedule tasks that are due."""
        ids = [f"{queue}{next(self._numbers)}" for _ in range(count)]
        self.world.schedule(*ids, queue=queue, store=self.store)
        self.expected.update(ids)

    def turn(self) -> None:
        """Do the next thing."""
        match next(self._turns):
            case "dispatch":
                self.strategy.dispatch(1)
            case "schedule":
                self.schedule(1)
            case "schedule far":
                task_id = f"far{next(self._numbers)}"
                self.world.schedule(task_id, delay_us=3600 * 1_000_000, store=self.store)
                assert self.store.reschedule(task_id, 0) is not None
                self.expected.add(task_id)
            case "cancel" if self.expected:
                task_id = min(self.expected)
                if self.store.cancel(task_id):
                    self.expected.discard(task_id)
                    self.cancelled.add(task_id)
            case "reschedule" if self.expected:
                self.store.reschedule(max(self.expected), 0, relative=True)


def _dispatch_all(world: World, rivals: Rivals, fate: Fate | None) -> None:
    actor = world.actor(ACTOR)
    if fate is not None:
        mortal(actor, fate)
    strategy = interrupted(actor, rivals.turn).strategy
    for _ in range(2):
        strategy.dispatch(3)


def _check(world: World, rivals: Rivals) -> None:
    world.strategy.recover(ACTOR)
    dropped, ran = [], []
    for _ in range(200):
        world.dispatch_all()
        step = world.take("w", "q", "r", want=10)
        dropped += step.dropped
        claims = [claim for claim in (step.started, *step.held) if claim is not None]
        ran += [claim.id for claim in claims]
        if not claims and not world.redis.llen(world.keys.of("ready", "q")):
            break
    assert dropped == []
    assert sorted(ran) == sorted(rivals.expected)
    assert not rivals.cancelled & set(ran)


@pytest.mark.leaves_keys
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(len(_TURNS)))
def test_a_dispatcher_dies_while_others_work(
    redis_url: str, strategy_name: str, first: int, record_property: Callable[[str, object], None]
) -> None:
    numbers = itertools.count()

    def at(fate: Fate | None) -> int:
        world = World(redis_url, f"rivals{next(numbers)}", strategy_name)
        try:
            rivals = Rivals(world, first)
            rivals.schedule(4)
            rivals.schedule(2, queue="r")
            world.round_up()
            sent = fate or Fate()
            try:
                _dispatch_all(world, rivals, sent)
            except Killed:
                pass
            assert sent.dead is (sent.at > 0)
            _check(world, rivals)
            return sent.sent
        finally:
            world.close()

    at(None)  # the server sees the scripts for the first time
    whole = at(None)
    points = 0
    moments: tuple[When, When] = ("before", "after")
    for k, when in itertools.product(range(1, whole + 1), moments):
        at(Fate(k, when))
        points += 1
    record_property("crash points", points)
