"""An actor dies between any two commands, while another dispatcher and producers work in every gap.

Before each single command of the actor (commands of a pipeline are sent one by one) the others take a turn: they
schedule, cancel, reschedule, and dispatch. Then the actor dies before or after its k-th command, for every k. At last
each task that was scheduled and not cancelled has run, once, and no entry of a ready list was dispatched twice.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest
from support.mortal import Fate, Killed, interrupted, mortal
from support.servers import Load
from support.world import LEASE_US, World

from dueq.core.namespace import Namespace
from dueq.core.schema.record import Record
from dueq.core.store.values import Loss, Outcome, Step

pytestmark = pytest.mark.one_server

ACTOR = "dying"
_MOST_TURNS = 24
_TURNS = ("dispatch", "schedule", "cancel", "reschedule", "schedule far", "nothing")


class Rivals:
    """Another dispatcher, and producers, that take turns."""

    def __init__(self, world: World, first: int) -> None:
        self.world = world
        self.strategy = world.actor().strategy
        self.store = world.actor().store
        self.expected: set[str] = set()
        self.cancelled: set[str] = set()
        # not for ever: whoever is undone at every attempt would never come to an end
        self._turns = itertools.islice(itertools.cycle(_TURNS), first, first + _MOST_TURNS)
        self._numbers = itertools.count()

    def schedule(self, count: int, queue: str = "q") -> None:
        """Schedule tasks that are due."""
        ids = [f"{queue}{next(self._numbers)}" for _ in range(count)]
        self.world.schedule(*ids, queue=queue, store=self.store)
        self.expected.update(ids)

    def turn(self) -> None:
        """Do the next thing."""
        match next(self._turns, "nothing"):
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


class Actor:
    """Who dies: it does its work while the rivals take turns, and notes what it was told."""

    def __init__(self, namespace: Namespace, rivals: Rivals) -> None:
        self.namespace, self.rivals = namespace, rivals
        self.unsure: set[str] = set()
        """Tasks whose fate it did not live to see."""
        self.acked: set[str] = set()

    def dispatch(self) -> None:
        for _ in range(2):
            self.namespace.strategy.dispatch(3)

    def cancel(self) -> None:
        for task_id in sorted(self.rivals.expected)[:3]:
            self.unsure.add(task_id)
            cancelled = self.namespace.store.cancel(task_id)
            self.unsure.discard(task_id)
            if cancelled:
                self.rivals.expected.discard(task_id)
                self.rivals.cancelled.add(task_id)

    def reschedule(self) -> None:
        for task_id in sorted(self.rivals.expected)[:3]:
            self.namespace.store.reschedule(task_id, 0, relative=True)

    def work(self) -> None:
        held: list[Record] = []
        outcome: Outcome | None = None
        for number in range(4):
            if outcome is not None:
                self.unsure.add(outcome.claim.id)
            start = held.pop(0) if held else None
            step = self.namespace.store.advance(Step(ACTOR, ["q", "r"], LEASE_US, want=2, outcome=outcome, start=start))
            if outcome is not None:
                self.unsure.discard(outcome.claim.id)
                assert step.settled == "done"
                if outcome.kind == "ack":
                    self.acked.add(outcome.claim.id)
            assert step.dropped == []
            held += step.held
            outcome = None if step.started is None else Outcome(step.started, "retry" if number == 1 else "ack")


def _check(world: World, rivals: Rivals, actor: Actor) -> None:
    """Everything that was scheduled and not cancelled runs, once; nothing was dispatched twice."""
    world.strategy.recover(ACTOR)
    world.store.give_back(Loss(ACTOR, "worker_lost", 99))
    dropped, ran = [], Counter[str]()
    for _ in range(200):
        world.dispatch_all()
        step = world.take("w", "q", "r", want=10)
        dropped += step.dropped
        claims = [claim for claim in (step.started, *step.held) if claim is not None]
        ran.update(claim.id for claim in claims)
        if not claims and not any(world.redis.llen(world.keys.of("ready", queue)) for queue in ("q", "r")):
            break
    assert dropped == []
    assert ran.keys() - actor.unsure == rivals.expected - actor.acked - actor.unsure
    assert set(ran.values()) <= {1}
    assert not rivals.cancelled & ran.keys()


@pytest.mark.crash_points
@pytest.mark.leaves_keys
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("who", "first"),
    [("dispatch", 0), ("dispatch", 2), ("dispatch", 4), ("cancel", 0), ("reschedule", 0), ("work", 0), ("work", 1)],
)
def test_one_dies_while_others_work(
    redis_url: str,
    strategy_name: str,
    who: str,
    first: int,
    load: Load,
    record_property: Callable[[str, object], None],
) -> None:
    numbers = itertools.count()

    def at(fate: Fate) -> int:
        world = World(redis_url, f"rivals{next(numbers)}", strategy_name)
        try:
            rivals = Rivals(world, first)
            rivals.schedule(4)
            rivals.schedule(2, queue="r")
            world.round_up()
            if who == "work":
                world.dispatch_all()
            actor = Actor(interrupted(mortal(world.actor(ACTOR), fate), rivals.turn), rivals)
            with suppress(Killed):
                getattr(actor, who)()
            assert fate.dead is (fate.at > 0)
            _check(world, rivals, actor)
            return fate.sent
        finally:
            world.close()

    at(Fate())  # the server sees the scripts for the first time
    whole = at(Fate())
    points = load.deaths(whole)
    for k, when in points:
        at(Fate(k, when))
    record_property("crash points", len(points))
