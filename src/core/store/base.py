"""The interface of the store: every transition of a task except the strategy's one, SCHEDULED to READY.

Each method is one atomic step: it happens whole or not at all, whichever process is killed. Each says whether it may
safely be repeated after a lost reply. All raise redis-py's errors unchanged; callers decide what to survive.
A method that may touch the index of scheduled tasks raises StrategyMismatch, and changes nothing, if another strategy
owns the namespace by now; NamespaceMigrating if it has to wait for the end of a migration (see
core/schema/ownership.py).

Two implementations share one layout of keys and records: ``scripted`` (Redis 2.6 and later) and, for servers
without scripts, ``transactional`` (WATCH/MULTI; Redis 2.4). Which one a namespace uses depends on the server (see
server_scripts.py). values.py has the arguments and results of these methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Literal, Protocol

from ..schema.record import Record
from .values import Advance, DeadLetter, Depth, Look, Loss, Lost, NewTask, Reaped, Scheduled, Step

Woken = Literal["sent", "quiet", "unknown"]
"""How a channel's sleep ended: see ``Channel.sleep``."""


class Watch(Protocol):
    """What a sleeping worker shares with others of its kind: one looks whether all is quiet, the others sleep on."""

    @property
    def supervisor(self) -> str:
        """The supervisor that answers for the worker: see ``Store.alive``."""

    def begin(self) -> None:
        """The worker goes to sleep."""

    def end(self) -> None:
        """The worker does not sleep any more."""

    def rest(self) -> float:
        """Seconds that the worker may sleep on before it has to see to the watch."""

    def kept(self, look: Callable[[Sequence[str]], Look]) -> bool:
        """See to the watch. If it is this worker's turn, it looks: by ``look``, for the workers with the given names.

        False: the worker has to look by itself, by a step that takes tasks.
        """


class Channel(ABC):
    """A worker's own way to the store: ``Store.advance`` in two halves, so that it need not wait for each reply.

    A worker may begin a held task as soon as the step that starts it is sent, since nobody else can have the task while
    the worker lives. One thread at a time uses a channel. After an error, every step without a reply is in doubt, and
    the channel waits for none of these replies any more.
    """

    ahead: ClassVar[int]
    """How many steps may wait for their replies while a worker runs tasks; 0: none."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many steps were sent whose replies were not received yet."""

    @abstractmethod
    def send(self, step: Step) -> None:
        """Send off one ``Store.advance``: when this returns, it is on its way.

        The ``start`` of ``step`` is the held claim as it will be once it is started.
        """

    @abstractmethod
    def sleep(self, step: Step, seconds: float, watch: Watch | None = None) -> Woken:
        """Sleep until the channel receives a wake-up, or for about ``seconds``; then take tasks, by ``step``.

        With ``watch``, the sleep may last longer: as long as the watch is kept. Then Redis takes no tasks by ``step``
        once the watch's supervisor has fallen silent, since the worker may be gone with its host; if the worker is
        there, it takes them by another step. Nothing must be waiting. ``sent``: the reply to that step is to be
        received. ``quiet``: no step was sent. ``unknown``: the sleep was cut short, and nobody knows whether tasks were
        taken.
        """

    @abstractmethod
    def receive(self) -> Advance:
        """Wait for the reply to the oldest step without one, and return it."""

    @abstractmethod
    def close(self) -> None:
        """Forget the steps without replies. The next step opens the channel anew."""


class Store(ABC):
    """Every transition of a task but SCHEDULED → READY."""

    @abstractmethod
    def schedule(self, tasks: Sequence[NewTask]) -> list[Scheduled]:
        """Write records and index them: one round trip per thousand, atomic per ``MOST_TASKS``.

        A task whose id is in use is not written. Repeating is safe, since the caller chooses the ids. Raises
        StrategyMismatch, with the results of the tasks scheduled before, if another strategy owns the namespace.
        """

    @abstractmethod
    def again(self, task: NewTask, token: int) -> int | None:
        """Keep the next run that a task asks for while it runs under ``token``; returns the time of this step.

        The step that ends the present run for good (done or dead) makes ``task`` the record, and schedules it; a dead
        letter then gets an id of its own. A retry in between keeps its own arguments. The last call counts. None, and
        nothing changes, if the task does not run under ``token`` any more. Repeating is safe.
        """

    @abstractmethod
    def forget_again(self, task_id: str, token: int) -> bool:
        """Take back what ``again`` has kept, within the same run. False if there is nothing."""

    @abstractmethod
    def mend_again(self, task_id: str) -> bool:
        """Schedule what ``again`` has kept for a task that is gone; for the auditor. False if there is nothing."""

    @abstractmethod
    def kept_again(self, task_id: str) -> Record | None:
        """The next run that ``again`` has kept for this task."""

    @abstractmethod
    def cancel(self, task_id: str) -> bool:
        """Forget a task that no worker has. True only if it will not run. Repeating is safe.

        This, ``reschedule``, ``mend`` and taking tasks raise NamespaceMigrating while a migration is under way.
        """

    @abstractmethod
    def reschedule(self, task_id: str, due: int, *, relative: bool = False) -> int | None:
        """Give a task that no worker has another due time, and return it; None if it was too late for that."""

    @abstractmethod
    def knows(self, names: Iterable[str] | None) -> None:
        """From now on ``advance`` takes only tasks that call one of ``names``; None: any name, as at first.

        It puts other tasks aside: they are *unclaimed* and unstarted, until a worker that knows their name takes them.
        """

    @abstractmethod
    def unclaimed(self) -> dict[tuple[str, str], int]:
        """How many tasks were put aside, by queue and by the name that they call."""

    @abstractmethod
    def advance(self, step: Step) -> Advance:
        """Settle the outcome of the last task, start the next, and take more, in one round trip.

        A task that is taken is held, without a lease. If the step has no held claim to start, it starts the first task
        that it takes. The lease runs from the start. Settling may be repeated with the same outcome: the reply then
        says ``repeated`` or ``missing``. A held claim may be settled, too: its worker had begun it, though Redis does
        not know of that.
        """

    @abstractmethod
    def channel(self, queues: Sequence[str] = (), wakeup_fd: int = -1) -> Channel:
        """A channel to ``advance`` for one worker.

        Its sleep ends when something is ready in one of ``queues``, and when ``wakeup_fd``, if given, is readable.
        """

    @abstractmethod
    def extend(self, worker: str, claims: Sequence[Record], lease_us: int) -> list[bool]:
        """Make the leases of started claims, and the worker's life, last ``lease_us`` from now; False where lost.

        A held claim counts, too: its worker may have begun it, though Redis does not know of that.
        """

    @abstractmethod
    def release(self, worker: str, claims: Sequence[Record]) -> int:
        """Put held claims back into their ready lists; returns how many still were this worker's."""

    @abstractmethod
    def give_back(self, loss: Loss) -> list[Lost]:
        """Take back all that a worker holds, so that it can run again at once. Repeating is safe.

        With ``lease_expired``, a worker that has given a sign of life since keeps what it holds. ``unstarted`` is for a
        worker that disowns claims whose delivery it never learnt of: they do not count as started.
        """

    @abstractmethod
    def reap(self, limit: int, lease_us: int, most_losses: int, latest_us: int = 0) -> Reaped:
        """Take back up to ``limit`` leases that have run out, and name workers that hold tasks but are silent.

        Nothing is taken back if Redis's clock is past ``latest_us`` (0: no bound): then it has jumped.
        """

    @abstractmethod
    def alive(self, supervisor: str) -> bool:
        """Note that a supervisor is alive, for ``ALIVE_S`` from now on. True if it was not registered.

        One command, or two where Redis tells the time. It gets through at maxmemory under the scripted store.
        """

    @abstractmethod
    def end_sleep(self, worker: str, *, gone: bool = False) -> None:
        """Have Redis do the step that waits behind this worker's sleep, if the worker sleeps for long: it may not be
        there any more to take what it is woken for. What the step takes is then in its name. ``gone``: the worker will
        not sleep again. Repeating is safe."""

    @abstractmethod
    def time_us(self) -> int:
        """The time by the clock of due times: Redis's, or this host's where the server may have no TIME."""

    @abstractmethod
    def record(self, task_id: str) -> Record | None:
        """The record of a task, None if there is none."""

    @abstractmethod
    def dead(self, queue: str, offset: int, limit: int) -> list[DeadLetter]:
        """Dead letters of a queue, oldest first."""

    @abstractmethod
    def revive(self, task_ids: Sequence[str]) -> int:
        """Schedule dead letters again, due now, with fresh retries; returns how many. Repeating is safe."""

    @abstractmethod
    def discard(self, task_ids: Sequence[str]) -> int:
        """Forget dead letters for good; returns how many. Repeating is safe."""

    @abstractmethod
    def queues(self) -> list[str]:
        """Every queue that had a task since it was last forgotten, sorted."""

    @abstractmethod
    def busy(self) -> list[str]:
        """The queues that have tasks ready; a queue without may be among them for a while."""

    @abstractmethod
    def leases(self) -> Mapping[str, int]:
        """How many leases are out in each queue; queues that have none are not named."""

    @abstractmethod
    def depth(self, queue: str) -> Depth:
        """How many tasks of a queue are beyond SCHEDULED, by state."""

    @abstractmethod
    def depths(self, queues: Sequence[str]) -> dict[str, Depth]:
        """The same for many queues: a few round trips in any case, and some more for each thousand queues."""

    @abstractmethod
    def producer_counts(self, queues: Sequence[str] | None = None) -> dict[tuple[str, str], int]:
        """What producers did since the namespace began: ("scheduled" | "cancelled", queue) -> how many tasks.

        ``queues``: only these; None: all queues that exist now.
        """

    @abstractmethod
    def shards(self, keys: Sequence[str]) -> dict[str, bytes]:
        """All records in these hashes (see ``Keys.records``), undecoded, by task id."""

    @abstractmethod
    def mend(self, task_id: str, raw: bytes) -> bool:
        """Put a task into the place that its record says, since it was not found there; for the auditor.

        A scheduled task goes into the index, a dead letter to the dead letters. A claimed task is taken back from its
        owner like one whose lease ran out. False, and nothing changes, if the record is no longer ``raw``, or if a
        scheduled task turns out to be in the index.
        """

    @abstractmethod
    def mend_queues(self, queues: Sequence[str]) -> list[str]:
        """Repair what is kept of ``queues`` (a hundred at most) beside their tasks; for the auditor, and at a start.

        Returns the queues that had work and were not among the busy ones. Moves leases from the layout of an older
        dueq.
        """

    @abstractmethod
    def wake_again(self, queues: Sequence[str]) -> None:
        """Wake a worker for each of ``queues`` that has work: the worker that was woken for that may be gone.

        The cost grows only with the number of busy queues.
        """

    @abstractmethod
    def rehearse(self, queue: str, due_us: int) -> None:
        """Wake idle workers of ``queue`` now, since a task of it is due in a moment, at ``due_us``.

        They find nothing and sleep again; but their code, and Redis's, is then in the processors' caches. However many
        dispatchers call this for one due time, workers are woken once. It is a hint, which a store may ignore.
        """

    @abstractmethod
    def oldest_ready(self) -> dict[str, int]:
        """When the task that waits longest in each busy queue was due (epoch microseconds), where that can be read."""

    @abstractmethod
    def forget_queue(self, queue: str, scheduled: int) -> bool:
        """Take a queue without tasks off the list of queues; the next task that is scheduled in it puts it back on.

        ``scheduled`` is the number of tasks ever scheduled in it (see ``producer_counts``). The caller read that
        number first, then looked at every record, and found none of this queue. False, and nothing changes, if more
        tasks have been scheduled since, or if some entry of the queue is left anywhere. For the auditor, like
        ``forget_revoked``.
        """

    @abstractmethod
    def forget_revoked(self, counts: Mapping[str, int]) -> int:
        """Forget void entries of ready lists that are not there any more: ``counts`` has how many of each id.

        An id that has more or fewer void entries by now is left alone. Returns how many ids were forgotten.
        """

    @abstractmethod
    def wake_dispatcher(self) -> None:
        """Wake a dispatcher for what is due: the one that was woken for it may be gone."""

    # -- for the auditor

    @abstractmethod
    def raws(self, ids: Sequence[str]) -> dict[str, bytes | None]:
        """The records of these tasks, undecoded, in one round trip; None where there is none."""

    @abstractmethod
    def void_entries(self, most: int) -> dict[str, int]:
        """How many entries of each id are noted as void; empty if there are more than ``most`` ids, too many to read
        at once."""

    @abstractmethod
    def waiting_again(self, most: int) -> list[str]:
        """The tasks for which ``again`` has kept a call; empty if there are more than ``most``."""

    @abstractmethod
    def list_queue(self, queue: str) -> bool:
        """Put a queue that has tasks on the list of queues; False if it was there."""

    @abstractmethod
    def set_apart(self, task_id: str, raw: bytes) -> bool:
        """Put a damaged record into quarantine; False, and nothing changes, if it is no longer ``raw``."""

    @abstractmethod
    def mend_names(self) -> None:
        """Forget names that no application has published for a day, and note again that tasks were put aside."""
