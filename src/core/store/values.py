"""What the store takes and gives: tasks to schedule, a worker's steps, outcomes, losses, and what became of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..clock import US
from ..errors import DueqError
from ..schema.bounds import ALIVE_US
from ..schema.record import Record
from ..schema.states import State

ALIVE_S = ALIVE_US / US
"""How long after its last sign of life a supervisor is taken to be alive; it gives three in that time."""

LostHow = Literal["started", "held", "dead"]
"""What became of a claim taken back: it had started, it had only been held, or it was buried as a dead letter."""


Settled = Literal["", "done", "repeated", "missing", "stale"]
"""What became of an outcome: there was none; it is done; this very claim was settled before; the task is gone; another
claim has replaced this one."""

Existing = Literal["", "scheduled", "leased", "dead"]
"""What has the id of a task that is to be scheduled: nothing, or a task in this state."""

EXISTING: dict[str, Existing] = {
    State.SCHEDULED: "scheduled",
    State.UNCLAIMED: "scheduled",
    State.HELD: "scheduled",
    State.LEASED: "leased",
    State.DEAD: "dead",
}
"""The same for each state of a record."""


def existing(state: str) -> Existing:
    """What has an id, by the state of its record. Raises DueqError if only a newer dueq knows the state."""
    if state not in EXISTING:
        raise DueqError(
            "a task's id is in use by a record that a newer dueq wrote, which was left as it is: upgrade dueq here, or "
            "take another id"
        )
    return EXISTING[state]


class NewTask(NamedTuple):
    """A task to schedule. ``due`` is epoch microseconds, or microseconds from Redis's now if ``relative``. ``tail`` has
    its further fields (see schema/tail.py)."""

    id: str
    queue: str
    due: int
    body: bytes
    relative: bool = False
    tail: bytes = b""


class Scheduled(NamedTuple):
    """What came of scheduling: ``existing`` is empty for a new task, else the state of the task that has the id."""

    now_us: int
    existing: Existing
    again: bool = False  # the task asked for its own next run: it is kept until the present run ends


class Outcome(NamedTuple):
    """How a started task ended.

    ``ack``; ``misfire``, settled like an ack: it was not run, since it had expired; ``retry`` after ``delay_us``;
    ``dead``, with a ``reason`` that the store keeps; or ``snooze``: it is due again at ``due_us`` (epoch microseconds),
    or after ``delay_us`` if that is 0, and this start does not count.
    """

    claim: Record
    kind: Literal["ack", "misfire", "retry", "snooze", "dead"]
    delay_us: int = 0
    reason: str = ""
    due_us: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the task is done with, and to be forgotten."""
        return self.kind in ("ack", "misfire")

    @property
    def runs_on(self) -> bool:
        """Whether the task is to be started again."""
        return self.kind in ("retry", "snooze")


class Step(NamedTuple):
    """What a worker requests by one ``Store.advance``.

    Settle ``acks``, the claims of tasks that have succeeded, and then ``outcome``; start ``start`` if it is still held
    under its token; and take up to ``want`` tasks from the ready lists of ``queues`` in that order. With
    ``start_all``, all that are taken count as started from then on. A lease lasts ``lease_us`` microseconds.
    """

    worker: str
    queues: Sequence[str]
    lease_us: int
    want: int = 1
    outcome: Outcome | None = None
    start: Record | None = None
    acks: Sequence[Record] = ()
    start_all: bool = False


Cause = Literal["worker_lost", "lease_expired", "unstarted"]
"""Why a worker's tasks are taken back: it is gone, its life has run out, or it disowns tasks that it never ran."""


class Loss(NamedTuple):
    """A worker whose tasks are to be taken back, for ``Store.give_back``.

    ``since_us`` is when it was lost, and ``how`` goes into the reason of dead letters. A task lost with ``most_losses``
    workers becomes a dead letter; 0 says that this loss is not the task's fault, and does not count against it.

    Claims whose tokens are among ``begun`` count as started, although Redis does not know of it. With ``unstarted``
    they count as started and ended, and Redis has lost the end: they are run again like claims whose lease ran out.
    ``running`` is the token of the claim that ran last (0: none, None: not known). If it is known, only that task is to
    blame, and claims that are not among ``begun`` never began, though the step that took them may have started them.
    """

    worker: str
    cause: Cause
    most_losses: int
    since_us: int = 0
    how: str = ""
    begun: Collection[int] = ()
    running: int | None = None


class Aside(NamedTuple):
    """A task that was put aside, since the worker that took it does not know the name that it calls."""

    queue: str
    name: str
    id: str


class Advance(NamedTuple):
    """What one ``advance`` did."""

    now_us: int
    settled: Settled
    dropped: list[str]  # queues of tasks found dispatched twice
    started: Record | None
    held: list[Record]
    holding: int  # how many tasks Redis now counts as this worker's
    forgot: bool = False  # Redis has lost data: the last token that it knew of is below one that this process has seen
    aside: Sequence[Aside] = ()  # tasks put aside
    acked: Sequence[Settled] = ()  # what became of each of the acks


class Look(NamedTuple):
    """What a look for sleeping workers found: whether all is ``quiet``, and Redis's time in epoch microseconds.

    ``sent_ns`` and ``received_ns`` are ``time.monotonic_ns()`` before the request and after the reply.
    """

    quiet: bool
    now_us: int
    sent_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A claim taken back from an owner that is gone."""

    id: str
    queue: str
    how: LostHow


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one ``reap`` did; ``next_us`` is when the next lease runs out (None: no lease is out)."""

    now_us: int
    next_us: int | None
    silent_workers: list[str]
    lost: list[Lost]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter: its record, when it died, and why."""

    record: Record
    died_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class Depth:
    """How many tasks of a queue are in each state, and the due time of the one waiting longest (None: none)."""

    ready: int
    leased: int
    dead: int
    oldest_ready_us: int | None
