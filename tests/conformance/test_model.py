"""Random interleavings of all actors, against a model of what each task may do next."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.mortal import Fate, Killed, mortal
from support.queues import notes_at_fault
from support.servers import Load
from support.world import LEASE_US, TRANSACTIONAL, World

from dueq.core.namespace import Namespace
from dueq.core.schema.record import Record
from dueq.core.schema.states import State
from dueq.core.store.values import Advance, Loss, Outcome

pytestmark = pytest.mark.few_servers

HOUR_US = 3600 * 1_000_000
WORKERS = ("w0", "w1", "w2")
QUEUES = ("q", "other")
IDS = tuple(f"t{number}" for number in range(2))
_numbers = itertools.count()

KINDS = ["ack", "retry", "retry later", "snooze", "snooze later", "dead"]


@dataclass
class Task:
    """The model: where a task is, and under which token its owner may settle it."""

    far: bool
    state: str = "waiting"  # scheduled, ready or put aside; held; leased; dead
    begun: bool = False  # what is leased may have been started by the step that took it
    owner: str = ""
    token: int = 0


class Life(RuleBasedStateMachine):
    """Producers, a dispatcher, three workers and a reaper, in any order."""

    url = strategy = ""
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.url, f"model{next(_numbers)}", self.strategy)
        self.tasks: dict[str, Task] = {}
        self.last_token, self.lease_us = 0, LEASE_US
        self.ahead_us = 0
        self.old = self.world.actor("old")

    def teardown(self) -> None:
        self.catch_up()
        try:
            self.world.finish()
        finally:
            self.world.close()

    def catch_up(self) -> None:
        """Let the clock be where it has been at most: what was due once is due."""
        self.ahead_us = self.world.clock.ahead_us = max(self.ahead_us, self.world.clock.ahead_us)

    def waiting(self, *task_ids: str) -> None:
        for task_id in task_ids:
            task = self.tasks[task_id]
            task.state, task.owner, task.token = "waiting", "", 0

    def took(self, worker: str, step: Advance, *, start_all: bool = False) -> list[Record]:
        """Note what a worker was given: only what waits, is due, and belongs to nobody."""
        assert step.dropped == []
        new = [claim for claim in [step.started, *step.held] if claim is not None]
        for claim in new:
            task = self.tasks[claim.id]
            if claim.token != task.token:
                assert (task.state, task.far) == ("waiting", False)
                assert claim.token > self.last_token
                self.last_token = claim.token
            else:
                assert task.state in ("held", "leased")
                assert task.owner == worker
            task.begun = claim is step.started
            task.state, task.owner, task.token = "leased" if task.begun or start_all else "held", worker, claim.token
            assert (claim.state == State.LEASED) is (task.state == "leased")
        return new

    @invariant()
    def what_is_kept_of_queues_is_right(self) -> None:
        """No step has to look at more queues than have work, so that must not be missing of any."""
        assert notes_at_fault(self.world, QUEUES) == []

    @rule(task_id=st.sampled_from(IDS), queue=st.sampled_from(QUEUES), far=st.booleans(), dispatch=st.booleans())
    def schedule(self, task_id: str, queue: str, far: bool, dispatch: bool) -> None:
        [result] = self.world.schedule(task_id, queue=queue, delay_us=HOUR_US if far else 0)
        states = {"waiting": "scheduled", "held": "scheduled", "leased": "leased", "dead": "dead"}
        task = self.tasks.get(task_id)
        assert result.existing == ("" if task is None else states[task.state])
        if task is None:
            self.tasks[task_id] = Task(far)
        if dispatch:
            self.world.dispatch_all()

    @rule()
    def dispatch(self) -> None:
        self.world.dispatch_all()

    @rule(
        target=claims,
        worker=st.sampled_from(WORKERS),
        queues=st.sampled_from([QUEUES, QUEUES[:1]]),
        want=st.integers(1, 3),
        start_all=st.booleans(),
    )
    def take(self, worker: str, queues: tuple[str, ...], want: int, start_all: bool) -> Record:
        step = self.world.take(worker, *queues, want=want, lease_us=self.lease_us, start_all=start_all)
        claims = self.took(worker, step, start_all=start_all)
        assert {claim.queue for claim in claims} <= set(queues)
        return multiple(*claims)  # type: ignore[return-value]

    @rule(seconds=st.sampled_from([-2, -1, 1, 3]))
    def clock_moves(self, seconds: int) -> None:
        """Of a host, forward or back; Redis's own cannot be moved here."""
        if self.strategy in TRANSACTIONAL:
            self.ahead_us = max(self.ahead_us, self.world.clock.ahead_us)
            self.world.clock.ahead_us += seconds * 1_000_000

    @rule(worker=st.sampled_from(WORKERS))
    def an_old_worker_looks(self, worker: str) -> None:
        """It knows none of these tasks: what it meets is put aside."""
        self.old.store.knows(["g"])
        step = self.world.take(worker, *QUEUES, want=2, store=self.old.store)
        assert (step.started, step.held, step.dropped) == (None, [], [])
        for one in step.aside:
            assert (self.tasks[one.id].state, self.tasks[one.id].far) == ("waiting", False)

    @rule(k=st.integers(1, 40), after=st.booleans())
    def a_dispatcher_dies(self, k: int, after: bool) -> None:
        """At its k-th command, if it sends so many; its supervisor sees it die."""
        self.world.round_up()
        with suppress(Killed):
            self.mortal("dispatcher", k, after).strategy.dispatch(100)
        self.world.strategy.recover("dispatcher")

    @rule(k=st.integers(1, 40), after=st.booleans(), worker=st.sampled_from(WORKERS))
    def a_worker_dies_taking(self, k: int, after: bool, worker: str) -> None:
        with suppress(Killed):
            self.took(worker, self.world.take(worker, *QUEUES, want=2, store=self.mortal(worker, k, after).store))
        lost = {one.id for one in self.world.store.give_back(Loss(worker, "worker_lost", 99))}
        owned = {task_id for task_id, task in self.tasks.items() if task.owner == worker}
        assert owned <= lost, "what it was known to have comes back; also what it did not live to tell of"
        for task_id in lost - owned:
            assert (self.tasks[task_id].state, self.tasks[task_id].far) == ("waiting", False)
        self.waiting(*lost)

    def mortal(self, name: str, k: int, after: bool) -> Namespace:
        return mortal(self.world.actor(name), Fate(k, "after" if after else "before"))

    @rule(short=st.booleans())
    def leases_from_now_on(self, short: bool) -> None:
        self.lease_us = 1 if short else LEASE_US

    @rule(target=claims, claim=claims)
    def start_held(self, claim: Record) -> Record:
        task = self.tasks.get(claim.id)
        mine = task is not None and task.state in ("held", "leased") and task.token == claim.token
        step = self.world.take(claim.worker, want=0, start=claim)
        assert (step.started is not None) == mine
        return multiple(*self.took(claim.worker, step))  # type: ignore[return-value]

    @rule(claim=consumes(claims), kind=st.sampled_from(KINDS))
    def settle(self, claim: Record, kind: str) -> None:
        task = self.tasks.get(claim.id)
        # what is held had begun, if it is settled
        mine = task is not None and task.state in ("leased", "held") and task.token == claim.token
        name, _, later = kind.partition(" ")
        delay = HOUR_US if later else 0
        outcome = Outcome(claim, name, delay_us=delay, reason="why")  # type: ignore[arg-type]
        settled = self.world.settle(claim.worker, outcome)
        assert (settled == "done") == mine
        if task is None:
            assert settled == "missing"
        elif mine and kind == "ack":
            del self.tasks[claim.id]
        elif mine and kind == "dead":
            task.state, task.owner = "dead", ""
        elif mine:
            self.waiting(claim.id)
            task.far = bool(later)

    @rule(claim=consumes(claims), other=consumes(claims))
    def ack(self, claim: Record, other: Record) -> None:
        """Two at once, if they are one worker's."""
        acks = [claim, other] if claim.worker == other.worker and claim.id != other.id else [claim]
        for one, settled in zip(acks, self.world.take(claim.worker, want=0, acks=acks).acked, strict=True):
            task = self.tasks.get(one.id)
            mine = task is not None and task.state in ("leased", "held") and task.token == one.token
            assert (settled == "done") == mine
            assert (settled == "missing") == (task is None)
            if mine:
                del self.tasks[one.id]

    @rule(claim=claims)
    def extend(self, claim: Record) -> None:
        task = self.tasks.get(claim.id)
        mine = task is not None and task.state in ("leased", "held") and task.token == claim.token
        assert self.world.store.extend(claim.worker, [claim], LEASE_US) == [mine]

    @rule(claim=claims)
    def release(self, claim: Record) -> None:
        task = self.tasks.get(claim.id)
        if task is not None and task.token == claim.token and task.begun:
            return  # no worker does so
        mine = task is not None and task.state in ("held", "leased") and task.token == claim.token
        assert self.world.store.release(claim.worker, [claim]) == mine
        if mine:
            self.waiting(claim.id)

    @rule(worker=st.sampled_from(WORKERS), disown=st.booleans())
    def die(self, worker: str, disown: bool) -> None:
        lost = self.world.store.give_back(Loss(worker, "unstarted" if disown else "worker_lost", 99))
        expected = {task_id for task_id, task in self.tasks.items() if task.owner == worker}
        assert {one.id for one in lost} == expected
        self.waiting(*expected)

    @rule()
    def reap(self) -> None:
        reaped = self.world.store.reap(100, 1, 99)
        for one in reaped.lost:
            assert self.tasks[one.id].state == "leased"
            self.waiting(one.id)
        for worker in reaped.silent_workers:
            lost = self.world.store.give_back(Loss(worker, "lease_expired", 99))
            self.waiting(*(one.id for one in lost))

    @rule(task_id=st.sampled_from(IDS))
    def cancel(self, task_id: str) -> None:
        task = self.tasks.get(task_id)
        expected = task is not None and task.state == "waiting"
        assert self.world.store.cancel(task_id) is expected
        if expected:
            del self.tasks[task_id]

    @rule(task_id=st.sampled_from(IDS), far=st.booleans())
    def reschedule(self, task_id: str, far: bool) -> None:
        task = self.tasks.get(task_id)
        due = self.world.store.reschedule(task_id, HOUR_US if far else 0, relative=True)
        expected = task is not None and task.state == "waiting"
        assert (due is not None) is expected
        if task is not None and expected:
            self.waiting(task_id)
            task.far = far

    @rule(task_id=st.sampled_from(IDS), revive=st.booleans())
    def dead_letter(self, task_id: str, revive: bool) -> None:
        task = self.tasks.get(task_id)
        dead = task is not None and task.state == "dead"
        done = self.world.store.revive([task_id]) if revive else self.world.store.discard([task_id])
        assert done == dead
        if dead and revive:
            self.waiting(task_id)
            self.tasks[task_id].far = False
        elif dead:
            del self.tasks[task_id]

    @precondition(lambda self: self.tasks)
    @rule()
    def everything_due_is_run(self) -> None:
        self.catch_up()
        expected = {task_id for task_id, task in self.tasks.items() if task.state == "waiting" and not task.far}
        ran = self.world.drain()
        assert sorted(record.id for record in ran) == sorted(expected)
        self.last_token = max([self.last_token, *(record.token for record in ran)])
        for task_id in expected:
            del self.tasks[task_id]


@pytest.mark.timeout(120)
def test_any_interleaving(redis_url: str, strategy_name: str, load: Load) -> None:
    machine = type("Life", (Life,), {"url": redis_url, "strategy": strategy_name})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100 if load.full else 10,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # to shrink a failure would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
