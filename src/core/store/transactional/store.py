"""The store for servers without scripts: WATCH, read, decide, MULTI/EXEC. Commands of Redis 2.4 only.

A task's record decides what may be done with the task. So each step watches the hash that holds the record, and each
step that changes what may be done with a task writes its record. There are two things that a record does not say.
First, whether a waiting task is in the index or already in its ready list: a step that must know watches the guard (see
``TransactionalStrategy``). Second, which worker has taken an entry of a ready list: a worker moves the entry into its
held list by RPOPLPUSH, and only then writes the claim (see ``advance``). So a task in a held list may not be claimed
yet; giving back what the worker held puts such a task back, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis

from ...client import partly
from ...client.transactions import Transactions
from ...clock import Clock
from ...schema.helper_keys import repair
from ...schema.keys import Keys
from ...schema.record import Record
from ..base import Channel
from ..reading import KeyedStore
from ..strategy import TransactionalStrategy
from ..unclaimed import Unclaimed
from ..values import Advance, Loss, Lost, NewTask, Reaped, Scheduled, Step
from . import again, cancel, dead_letters, extend, give_back, mend, reap, release, reschedule, schedule
from .advance import Advancing
from .channel import PromptChannel
from .forget import Forgetting
from .mend_queues import Mending
from .parts import Parts


class TransactionalStore(KeyedStore):
    """See ``Store``."""

    def __init__(self, client: redis.Redis, keys: Keys, index: TransactionalStrategy, clock: Clock) -> None:
        super().__init__(client, keys, clock)
        self._parts = Parts(Transactions(client, repair(keys)), keys, index, clock)
        self._unclaimed = Unclaimed(self._parts.transactions, keys, index, clock, self._names)
        self._advancing = Advancing(self._parts, self._names, self._unclaimed)
        self._mending = Mending(self._parts.transactions, keys)
        self._forgetting = Forgetting(self._parts.transactions, keys, index.ownership)

    def schedule(self, tasks: Sequence[NewTask]) -> list[Scheduled]:
        results: list[Scheduled] = []
        try:
            schedule.schedule(self._parts, tasks, results)
        except Exception as error:
            partly.note(error, results)
            raise
        return results

    def again(self, task: NewTask, token: int) -> int | None:
        return again.keep(self._parts, task, token)

    def forget_again(self, task_id: str, token: int) -> bool:
        return again.forget(self._parts, task_id, token)

    def mend_again(self, task_id: str) -> bool:
        return again.mend(self._parts, task_id)

    def cancel(self, task_id: str) -> bool:
        return cancel.cancel(self._parts, self._unclaimed, task_id)

    def reschedule(self, task_id: str, due: int, *, relative: bool = False) -> int | None:
        return reschedule.reschedule(self._parts, self._unclaimed, task_id, due, relative=relative)

    def advance(self, step: Step) -> Advance:
        return self._advancing.advance(step)

    def channel(self, queues: Sequence[str] = (), wakeup_fd: int = -1) -> Channel:
        return PromptChannel(self, self._client, self._wakeup_keys(queues), wakeup_fd)

    def extend(self, worker: str, claims: Sequence[Record], lease_us: int) -> list[bool]:
        return extend.extend(self._parts, worker, claims, lease_us)

    def release(self, worker: str, claims: Sequence[Record]) -> int:
        return release.release(self._parts, worker, claims)

    def give_back(self, loss: Loss) -> list[Lost]:
        return give_back.give_back(self._parts, loss)

    def reap(self, limit: int, lease_us: int, most_losses: int, latest_us: int = 0) -> Reaped:
        return reap.reap(self._parts, limit, lease_us, most_losses, latest_us)

    def end_sleep(self, worker: str, *, gone: bool = False) -> None:
        """Its sleeps are short."""

    def revive(self, task_ids: Sequence[str]) -> int:
        return dead_letters.revive(self._parts, task_ids)

    def discard(self, task_ids: Sequence[str]) -> int:
        return dead_letters.discard(self._parts, task_ids)

    def mend(self, task_id: str, raw: bytes) -> bool:
        return mend.mend(self._parts, task_id, raw)

    def mend_queues(self, queues: Sequence[str]) -> list[str]:
        return self._mending.queues(queues)

    def wake_again(self, queues: Sequence[str]) -> None:
        wanted = set(queues)
        self._mending.wake_again([queue for queue in self.busy() if queue in wanted])

    def rehearse(self, queue: str, due_us: int) -> None:
        pass  # for each worker that wakes it would cost five trips

    def forget_queue(self, queue: str, scheduled: int) -> bool:
        return queue not in self.leases() and self._forgetting.queue(queue, scheduled)

    def forget_revoked(self, counts: Mapping[str, int]) -> int:
        return self._forgetting.revoked(counts)
