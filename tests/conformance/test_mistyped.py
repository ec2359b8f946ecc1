"""Keys of a wrong type, rubbish and huge numbers under a running engine: it goes on, and loses no task."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from redis.exceptions import ResponseError
from support.audits import Audits
from support.world import World

from dueq import Dueq
from dueq.core.dispatcher.dispatcher import Dispatcher
from dueq.core.maintenance.overdue import OverdueCheck
from dueq.core.maintenance.reaper import Reaper
from dueq.core.process.stop import Stop
from dueq.core.schema.journal import Journal
from dueq.core.schema.key_types import FAMILIES, PLAIN
from dueq.core.schema.quarantine import counts, quarantined
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import DispatcherTelemetry, ReaperTelemetry, WorkerTelemetry
from dueq.core.upkeep import engines
from dueq.core.upkeep.clearing import Clearing
from dueq.core.worker.worker import Worker

pytestmark = [pytest.mark.one_server, pytest.mark.leaves_keys]

QUEUES = ("q", "other")
WORKER = "w1"
DEADLINE_S = 60.0


class Engine:
    """A producer, and one process of each role, whose turns this process takes."""

    def __init__(self, world: World) -> None:
        self.world, self.ran = world, list[str]()
        self.app = Dueq(world.settings.redis_url, namespace=world.settings.namespace, strategy=world.settings.strategy)
        for queue in QUEUES:
            self._define(queue)
        strategy, lease = world.strategy.name, 3.0  # what a step that is cut short leaves behind is taken back so late
        reaper, space = ReaperTelemetry(Counters(), "reaper", strategy), world.actor()
        dispatcher = DispatcherTelemetry(Counters(), "dispatcher", strategy)
        self.dispatcher = Dispatcher(world.actor(), dispatcher, safety_net=0.01, stop=Stop())
        self.journal = Journal(space.client, space.keys, WORKER)
        worker = WorkerTelemetry(Counters(1 << 14), "worker", strategy, self.journal)
        self.worker = Worker(
            self.app, space, WORKER, QUEUES, worker, lease=lease, prefetch=3, safety_net=0.01, stop=Stop()
        )
        self.reaper, self.overdue_check = (
            Reaper(world.actor(), reaper, lease=lease),
            OverdueCheck(world.actor(), reaper, lease=lease),
        )
        self.audits, self.clearing = Audits(world, world.actor()), Clearing(world.actor(), lambda: True)

    def _define(self, queue: str) -> None:
        @self.app.task(name=f"note.{queue}", queue=queue)
        def note(id: str) -> None:
            self.ran.append(id)

    def schedule(self, id: str, queue: str, delay: float) -> None:
        self.app.tasks[f"note.{queue}"].after(delay, id=id)(id)

    def clear(self) -> None:
        """What a supervisor's presence does: it is there, and makes room."""
        roles = {"worker": engines.Role(1, (engines.Process(WORKER, 1, "ready"),))}
        about = engines.about_me("1", self.world.strategy.name, 0)
        with suppress(ResponseError):
            engines.enter(self.world.main, "s1", about, roles, engines.Served((), {}))
        with suppress(ResponseError):
            self.clearing.run_once()
            self.world.main.claim()

    def turn(self) -> None:
        self.dispatcher.run_once()
        for queue in QUEUES:  # else it might wait for a second
            with suppress(ResponseError):
                self.world.redis.lpush(self.world.keys.of("wakeup", queue), 1)
        self.worker.run_once()
        self.reaper.run_once()
        self.overdue_check.run_once()
        self.journal.flush()

    def finish(self, ids: set[str]) -> None:
        """Go on until all of these tasks have run, of which one is to run within any minute."""
        until, left = time.monotonic() + DEADLINE_S, len(ids)
        while missing := ids - set(self.ran):
            if len(missing) < left:
                until, left = time.monotonic() + DEADLINE_S, len(missing)
            assert time.monotonic() < until, f"these never ran: {missing}"
            self.clear()
            self.audits.run()
            for _ in range(5):
                self.turn()


def places(world: World, ids: list[str], dice: random.Random) -> dict[str, str]:
    """A key of each family, as far as this strategy may have one."""
    keys, queue, second = world.keys, "q", int(time.time()) + 1
    found = {name: keys.plain(name) for name in PLAIN}
    for family in ("ready", "wakeup", "leased_before", "dead", "seconds", "sizes"):
        found[family] = keys.of(family, queue)
    return found | {
        "heads": keys.heads(world.strategy.name),
        "timer": keys.timer(world.strategy.name, queue),
        "bucket": keys.of("bucket", f"{queue}:{second}"),
        "held": keys.of("held", WORKER),
        "record": keys.record(dice.choice(ids)),
        "journal": keys.journal(dice.choice(ids)),
        "alarm": keys.of("alarm", f"{queue}:{dice.choice(ids)}"),
        "quarantine": keys.of("quarantine", "key"),
    }


Write = Callable[[Any, str], object]
WRITES: dict[str, Write] = {
    "string": lambda pipe, key: pipe.set(key, b"\xffrubbish"),
    "list": lambda pipe, key: pipe.rpush(key, b"\xff", "9" * 400),
    "set": lambda pipe, key: pipe.sadd(key, b"\xff", "9" * 400),
    "hash": lambda pipe, key: pipe.hset(key, b"\xff", "9" * 400),
    "zset": lambda pipe, key: pipe.zadd(key, {b"\xff": 1, "9" * 400: 1e300}),
}
BESIDE: dict[str, Write] = {
    "token": lambda pipe, key: pipe.set(key, str((1 << 63) - 1)),
    "guard": lambda pipe, key: pipe.set(key, str((1 << 63) - 1)),
    "stats": lambda pipe, key: pipe.hset(key, "scheduled:q", str((1 << 63) - 1)),
    "audited": lambda pipe, key: pipe.set(key, "9" * 400),
    "recovered": lambda pipe, key: pipe.set(key, "9" * 400),
    "queues": lambda pipe, key: pipe.sadd(key, b"\xff"),
    "workers": lambda pipe, key: pipe.zadd(key, {b"\xff": 1e300}),
    "ready": lambda pipe, key: pipe.lpush(key, b"\xff"),
    "held": lambda pipe, key: pipe.lpush(key, b"\xff"),
    "bucket": lambda pipe, key: pipe.lpush(key, b"\xff"),
    "dead": lambda pipe, key: pipe.zadd(key, {b"\xff": 1e300}),
    "leased": lambda pipe, key: pipe.zadd(key, {b"\xff": 1}),
    "journal": lambda pipe, key: pipe.lpush(key, b"\xff"),
    "wakeup": lambda pipe, key: pipe.lpush(key, b"\xff"),
    "revoked": lambda pipe, key: pipe.hset(key, b"\xff", "9" * 400),
    "busy": lambda pipe, key: pipe.zadd(key, {b"\xff": 0}),
}
"""Rubbish in keys of the right type; where such a key has another type already, that is what stays."""


class Corruption:
    """Overwrites keys, and remembers what cannot come back: whole tasks."""

    def __init__(self, world: World) -> None:
        self.world, self.lost = world, set[str]()

    def of_type(self, family: str, key: str, dice: random.Random) -> None:
        wanted = (PLAIN | FAMILIES)[family].type
        kind = dice.choice([name for name in WRITES if name != wanted])
        pipe: Any = self.world.redis.pipeline(transaction=True)
        if family == "record":
            pipe.hkeys(key)
        pipe.delete(key)
        WRITES[kind](pipe, key)
        replies = pipe.execute(raise_on_error=False)
        if family == "record" and not isinstance(replies[0], Exception):
            self.lost.update(raw.decode(errors="replace") for raw in replies[0])

    def beside(self, family: str, key: str) -> None:
        with suppress(ResponseError):
            BESIDE[family](self.world.redis, key)


def run_under_corruption(world: World, seed: int, rounds: int) -> None:
    dice, engine, corruption = random.Random(seed), Engine(world), Corruption(world)
    world.main.claim()
    ids: list[str] = []
    left: list[str] = []
    for _ in range(rounds):
        for _ in range(6):
            ids.append(f"t{len(ids)}")
            engine.schedule(ids[-1], dice.choice(QUEUES), dice.choice((0, 0, 0.05, 0.3)))
        for _ in range(dice.randint(0, 2)):
            engine.turn()
        at = places(world, ids, dice)
        if not left:
            left = dice.sample(sorted(at), len(at))
        for family in (left.pop() for _ in range(min(6, len(left)))):
            corruption.of_type(family, at[family], dice)
        for family in dice.sample(sorted(BESIDE), 3):
            corruption.beside(family, at[family])
        for _ in range(dice.randint(0, 3)):
            engine.turn()
        engine.clear()
    engine.finish(set(ids) - corruption.lost)
    assert set(ids) <= set(engine.ran) | corruption.lost
    kept = [one for one in quarantined(world.main.client, world.keys) if one.kind == "key"]
    assert len(kept) == counts(world.main.client, world.keys)["key"] > 0
    for one in kept:
        assert not one.raw or world.redis.exists(one.raw)  # what `quarantined` itself had is another program's now


@pytest.mark.in_turn
def test_an_engine_goes_on(world: World, request: pytest.FixtureRequest) -> None:
    """With ``--all-of-it``, for longer, and another way each time."""
    if request.config.getoption("--all-of-it"):
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        run_under_corruption(world, seed, 40)
    else:
        run_under_corruption(world, 1, 8)
