"""Every operation, killed just before and just after each of its commands; another actor takes over.

After the take-over, each scheduled task has run, or was cancelled or buried. None ran before its due time (checked at
every start). Tokens only rise, the dead actor's own are refused, and each start beyond the first has a cause.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import pytest
from support.mortal import Fate, Killed, mortal
from support.servers import Load
from support.world import LEASE_US, World, keeps_scripted

from dueq.core.namespace import Namespace
from dueq.core.schema.bounds import steps
from dueq.core.schema.record import Record
from dueq.core.schema.tail import tail
from dueq.core.store.values import Loss, NewTask, Outcome, Step

pytestmark = pytest.mark.few_servers

ACTOR = "dying"
HOUR_US = 3600 * 1_000_000


@dataclass
class Scene:
    """What was there before the operation."""

    world: World
    started: Record | None = None
    held: list[Record] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    """Tasks whose scheduling was confirmed."""

    @property
    def claim(self) -> Record:
        assert self.started is not None
        return self.started


Act = Callable[[Scene, Namespace], object]


def claims(scene: Scene) -> None:
    """The actor runs t0, holds t1 and t2."""
    scene.world.ready("t0", "t1", "t2")
    scene.acknowledged = {"t0", "t1", "t2"}
    step = scene.world.take(ACTOR, want=3, lease_us=1)
    scene.started, scene.held = step.started, step.held


def many(scene: Scene) -> None:
    """The actor has t0 to t3, all started, and there are more."""
    scene.world.ready(*(f"t{number}" for number in range(8)))
    scene.acknowledged = {f"t{number}" for number in range(8)}
    step = scene.world.take(ACTOR, want=4, lease_us=1, start_all=True)
    scene.started, scene.held = step.started, step.held


def due(scene: Scene) -> None:
    scene.world.schedule("t0", "t1")
    scene.world.schedule("t2", queue="other")
    scene.acknowledged = {"t0", "t1", "t2"}


def ready(scene: Scene) -> None:
    scene.world.ready("t0", "t1", "t2")
    scene.acknowledged = {"t0", "t1", "t2"}


def ready_many(scene: Scene) -> None:
    scene.world.ready(*(f"t{number}" for number in range(6)))
    scene.acknowledged = {f"t{number}" for number in range(6)}


def more_than_claims(scene: Scene) -> None:
    claims(scene)
    scene.world.ready("t3", "t4", "t5")
    scene.acknowledged |= {"t3", "t4", "t5"}


def far(scene: Scene) -> None:
    scene.world.schedule("t0", "t1", delay_us=HOUR_US)
    scene.acknowledged = {"t0", "t1"}


def unknown(scene: Scene) -> None:
    """What waits is called so that the actor does not know it."""
    ready(scene)


def aside(scene: Scene) -> None:
    """Somebody who did not know them put t0, t1 and t2 aside."""
    ready(scene)
    old = scene.world.actor("old")
    old.store.knows(["g"])
    assert len(scene.world.take("old", store=old.store).aside) == 3


def knows(name: str, want: int) -> Act:
    def act(scene: Scene, actor: Namespace) -> object:
        actor.store.knows([name])
        return actor.store.advance(Step(ACTOR, ["q", "other"], LEASE_US, want=want))

    return act


def buried(scene: Scene) -> None:
    scene.world.ready("t0", "t1")
    scene.acknowledged = {"t0", "t1"}
    for _ in range(2):
        scene.world.settle("w0", Outcome(scene.world.started("w0"), "dead"))


def nothing(scene: Scene) -> None:
    """Nobody has done anything yet."""


def advance(
    outcome: Literal["", "ack", "retry", "snooze", "dead"] = "", start: bool = False, want: int = 0, begun: bool = False
) -> Act:
    """``begun``: what ended is held as far as Redis knows."""

    def act(scene: Scene, actor: Namespace) -> object:
        of = scene.held[-1:] if begun else [scene.started]
        ended = Outcome(claim, outcome, delay_us=2000, reason="why") if outcome and (claim := of[0]) else None
        held = scene.held[0] if start else None
        step = actor.store.advance(Step(ACTOR, ["q", "other"], LEASE_US, want=want, outcome=ended, start=held))
        assert ended is None or step.settled == "done"
        return step

    return act


def for_many(acks: int, *, want: int = 0, start: bool = False) -> Act:
    """A step for many: the first ``acks`` that the actor has are done."""

    def act(scene: Scene, actor: Namespace) -> object:
        claims = [claim for claim in (scene.started, *scene.held) if claim is not None]
        begins = claims[acks] if start else None
        step = Step(ACTOR, ["q", "other"], LEASE_US, want=want, start=begins, acks=claims[:acks], start_all=True)
        done = actor.store.advance(step)
        assert list(done.acked) == ["done"] * acks
        assert len(done.held) + (done.started is not None) == want + start
        return done

    return act


def reap_all(scene: Scene, actor: Namespace) -> None:
    reaped = actor.store.reap(100, 1, 9)
    for worker in reaped.silent_workers:
        actor.store.give_back(Loss(worker, "lease_expired", 9))


def live(scene: Scene, actor: Namespace) -> None:
    """A whole life: dispatch, take, settle, sleep."""
    actor.claim()
    outcome, held = None, list[Record]()
    for _ in range(4):
        actor.strategy.dispatch(100)
        start = held.pop(0) if held else None
        step = actor.store.advance(Step(ACTOR, ["q", "other"], LEASE_US, want=2, outcome=outcome, start=start))
        held += step.held
        outcome = Outcome(step.started, "ack") if step.started is not None else None
    actor.strategy.wait(0.001)


def schedule(count: int) -> Act:
    return lambda scene, actor: scene.world.schedule(*[f"n{number}" for number in range(count)], store=actor.store)


def schedule_with_tail(scene: Scene, actor: Namespace) -> object:
    scene.world.note("n0", "n1")
    tasks = [NewTask(f"n{number}", "q", 0, b'["f",[]]', True, tail("+1", "") * number) for number in range(2)]
    return actor.store.schedule(tasks)


OPERATIONS: dict[str, tuple[Callable[[Scene], None], Act]] = {
    "claim a namespace": (nothing, lambda scene, actor: actor.claim()),
    "schedule one": (nothing, schedule(1)),
    "schedule batches": (nothing, schedule(250)),
    "schedule with a tail": (nothing, schedule_with_tail),
    "schedule again": (ready, lambda scene, actor: scene.world.schedule("t0", store=actor.store)),
    "dispatch": (due, lambda scene, actor: actor.strategy.dispatch(100)),
    "dispatch a part": (due, lambda scene, actor: actor.strategy.dispatch(2)),
    "wait": (due, lambda scene, actor: actor.strategy.wait(0.001)),
    "take one": (ready, advance(want=1)),
    "take three": (ready, advance(want=3)),
    "put aside": (unknown, knows("g", 2)),
    "take what was put aside": (aside, knows("f", 2)),
    "cancel what was put aside": (aside, lambda scene, actor: actor.store.cancel("t0")),
    "reschedule what was put aside": (aside, lambda scene, actor: actor.store.reschedule("t0", 0)),
    "start a held one": (claims, advance(start=True)),
    "ack": (claims, advance("ack")),
    "ack and start": (claims, advance("ack", start=True)),
    "ack, start and take": (more_than_claims, advance("ack", start=True, want=2)),
    "ack a held one": (claims, advance("ack", begun=True)),
    "retry a held one": (claims, advance("retry", begun=True)),
    "snooze a held one": (claims, advance("snooze", begun=True)),
    "bury a held one": (claims, advance("dead", begun=True)),
    "retry": (claims, advance("retry")),
    "retry and take": (claims, advance("retry", want=1)),
    "snooze": (claims, advance("snooze")),
    "snooze and take": (claims, advance("snooze", want=1)),
    "bury": (claims, advance("dead")),
    "take and start four": (ready_many, for_many(0, want=4)),
    **{f"ack {count} at once": (many, for_many(count)) for count in (1, 2, 3, 4)},
    "ack two at once and take": (many, for_many(2, want=3)),
    "ack two at once, start and take": (many, for_many(2, want=3, start=True)),
    "release what was started": (many, lambda scene, actor: actor.store.release(ACTOR, scene.held)),
    "give back what was started": (
        many,
        lambda scene, actor: actor.store.give_back(
            Loss(ACTOR, "worker_lost", 9, begun=[scene.claim.token], running=scene.claim.token)
        ),
    ),
    "extend": (claims, lambda scene, actor: actor.store.extend(ACTOR, [scene.claim], LEASE_US)),
    "release": (claims, lambda scene, actor: actor.store.release(ACTOR, scene.held)),
    "disown": (claims, lambda scene, actor: actor.store.give_back(Loss(ACTOR, "unstarted", 9))),
    "give back": (claims, lambda scene, actor: actor.store.give_back(Loss(ACTOR, "worker_lost", 9))),
    "give back what had begun": (
        claims,
        lambda scene, actor: actor.store.give_back(
            Loss(ACTOR, "worker_lost", 9, begun=[claim.token for claim in scene.held])
        ),
    ),
    "give back and bury": (claims, lambda scene, actor: actor.store.give_back(Loss(ACTOR, "worker_lost", 1))),
    "reap": (claims, reap_all),
    "cancel a scheduled one": (far, lambda scene, actor: actor.store.cancel("t0")),
    "cancel a ready one": (ready, lambda scene, actor: actor.store.cancel("t0")),
    "cancel a held one": (claims, lambda scene, actor: actor.store.cancel("t1")),
    "reschedule a scheduled one": (far, lambda scene, actor: actor.store.reschedule("t0", 0)),
    "reschedule a ready one": (ready, lambda scene, actor: actor.store.reschedule("t0", HOUR_US, relative=True)),
    "reschedule a held one": (claims, lambda scene, actor: actor.store.reschedule("t1", 0)),
    "revive": (buried, lambda scene, actor: actor.store.revive(["t0"])),
    "discard": (buried, lambda scene, actor: actor.store.discard(["t0"])),
    "look": (
        buried,
        lambda scene, actor: (
            actor.store.dead("q", 0, 9),
            actor.store.depth("q"),
            actor.store.queues(),
            actor.strategy.census(["q"]),
        ),
    ),
    "a whole life": (due, live),
}
GONE = {
    "cancel what was put aside": "t0",
    "cancel a scheduled one": "t0",
    "cancel a ready one": "t0",
    "ack a held one": "t2",
    "discard": "t0",
}
"""The task that an operation may have made disappear."""
ACKED = {f"ack {count} at once": count for count in (1, 2, 3, 4)} | {
    "ack two at once and take": 2,
    "ack two at once, start and take": 2,
}
"""How many of the actor's tasks, the first ones, an operation may have acked: 1, if its name says so."""


def take_over(scene: Scene, name: str, act: Act) -> None:
    """Another actor finds what the dead one left, and brings every task to its end."""
    world = scene.world
    if name.startswith("schedule"):  # its caller got no answer, and asks again
        act(scene, world.main)
        scene.acknowledged |= {"n0"} if name != "schedule again" else set()
    world.strategy.recover(ACTOR)  # as its supervisor does, which sees it die
    lost = {one.id: one.how for one in world.store.give_back(Loss(ACTOR, "worker_lost", 9))}
    lost |= {one.id: one.how for one in world.store.reap(100, 1, 9).lost}
    for task_id in scene.acknowledged:  # bring what is far away near
        record = world.store.record(task_id)
        if record is not None and record.due_us > world.now_us():
            assert world.store.reschedule(task_id, 0) is not None
    world.store.revive([letter.record.id for letter in world.store.dead("q", 0, 99)])
    runs: dict[str, list[Record]] = defaultdict(list)
    for record in world.drain():
        runs[record.id].append(record)

    for task_id in scene.acknowledged:
        owned = [claim.id for claim in (scene.started, *scene.held) if claim is not None]
        done_before = name.startswith("ack") and task_id in owned[: ACKED.get(name, 1)]
        taken_and_done = name == "a whole life"
        may_be_gone = GONE.get(name) == task_id or done_before or taken_and_done
        assert len(runs[task_id]) <= 1, f"{task_id} ran twice"
        assert may_be_gone or runs[task_id], f"{task_id} is lost"  # G1
        assert world.store.record(task_id) is None
    for task_id, [record] in ((task_id, records) for task_id, records in runs.items() if records):
        for old in [scene.started, *scene.held]:
            if old is not None and old.id == task_id:
                assert record.token > old.token  # G3
        assert record.starts == 1 or record.cause != "", f"{task_id} started again without a cause"  # G4
        if lost.get(task_id) == "started":
            assert record.starts >= 2
            assert record.cause in ("worker_lost", "lease_expired")
    for old in [scene.started, *scene.held]:
        if old is not None:
            assert world.settle(ACTOR, Outcome(old, "ack")) in ("missing", "stale")  # the dead one, were it to wake
    assert world.leftovers() == []


@pytest.mark.crash_points
@pytest.mark.leaves_keys  # checked at each point instead
@pytest.mark.parametrize("cold", [False, True], ids=["", "scripts-forgotten"])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.timeout(300)
def test_crash_points(
    redis_url: str,
    strategy_name: str,
    name: str,
    cold: bool,
    load: Load,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare, act = OPERATIONS[name]
    transactional = not keeps_scripted(redis_url, strategy_name)
    if transactional:
        if cold:
            pytest.skip("it has no scripts that could be forgotten")
        if name == "schedule batches":  # of few tasks, since every one of them is a few commands, not one of a script
            monkeypatch.setattr("dueq.core.store.transactional.schedule.steps", partial(steps, most=2))
            act = schedule(5)
    numbers = itertools.count()

    def at(fate: Fate) -> None:
        world = World(redis_url, f"crash{next(numbers)}", strategy_name)
        world.round_up()  # so that what is due now is due in the same second each time, and costs as many commands
        try:
            scene = Scene(world)
            prepare(scene)
            actor = mortal(world.actor(ACTOR), fate)
            if cold:
                world.redis.script_flush()
            try:
                act(scene, actor)
            except Killed:
                actor.close()
            assert fate.dead is (fate.at > 0)
            take_over(scene, name, act)
        finally:
            world.close()

    if not transactional:
        at(Fate())  # the server may see these scripts for the first time, which costs commands more
    whole = Fate()
    at(whole)
    assert whole.sent > 0
    points = load.deaths(whole.sent)
    for k, when in points:
        at(Fate(k, when))
    record_property("crash points", len(points))
