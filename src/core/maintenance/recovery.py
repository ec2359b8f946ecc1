"""Gives back what dead processes had in hand, at once, or as soon as Redis allows it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from redis.exceptions import ResponseError

from ..client.failures import TRANSIENT, Patience, described
from ..client.transactions import Contention
from ..clock import now_us
from ..namespace import Namespace
from ..store.values import Loss
from ..telemetry.recorder import Telemetry
from ..upkeep.audit_times import request_audit

log = logging.getLogger("dueq.supervisor")


@dataclass(frozen=True, slots=True)
class _Dead:
    """A process that is gone, since when (epoch microseconds, this host's clock), how, whether its task is to blame,
    and the tokens of the tasks that it began last and that ran."""

    role: str
    name: str
    blame: bool
    how: str
    begun: tuple[int, ...]
    running: int | None
    died_us: int


class Recovery:
    """What dead workers and dispatchers had in hand, waiting to be given back."""

    def __init__(self, namespace: Namespace, telemetry: Telemetry, max_losses: int) -> None:
        self._namespace, self._telemetry, self._max_losses = namespace, telemetry, max_losses
        self._dead: deque[_Dead] = deque()
        self._patience = Patience()
        self._try_at = 0.0  # monotonic seconds; after a failure

    def add(
        self,
        role: str,
        name: str,
        *,
        how: str = "",
        blame: bool = True,
        begun: Iterable[int] = (),
        running: int | None = None,
    ) -> None:
        """A process is gone, however it ended: a process that leaves in order holds nothing.

        ``running`` is the token of the task that a worker was running (0: none; None: not known, and then it is the
        task that Redis has as started). That task is to ``blame``, unless the worker was asked to stop. ``how`` is for
        people. ``begun`` are the tokens of the tasks that it began last: Redis may never have heard of these starts. If
        ``running`` is known, so are these: whatever else Redis has as started was not begun.
        """
        if role in ("worker", "dispatcher") or blame:
            self._dead.append(_Dead(role, name, blame, how, tuple(begun), running, now_us()))

    @property
    def waiting(self) -> bool:
        """Whether anything is still to be given back."""
        return bool(self._dead)

    def run_once(self) -> float | None:
        """Give back what is waiting; returns seconds until to try again, None if nothing waits.

        Called sooner, it does nothing: a Redis that hangs must not hold up the supervisor at each turn.
        """
        if (early := self._try_at - time.monotonic()) > 0 and self._dead:
            return early
        try:
            self._give_back_all()
        except TRANSIENT as error:
            if self._patience.failures == 0:
                log.warning("what %s held cannot be given back yet: %s", self._dead[0].name, described(error))
            seconds = self._patience.failed()
            self._try_at = time.monotonic() + seconds
            return seconds
        return None

    def _give_back_all(self) -> None:
        """Give back what each of them had. If Redis refuses that for one, the others come first."""
        refused: ResponseError | None = None
        for _ in range(len(self._dead)):
            try:
                self._give_back(self._dead[0])
            except Contention:  # which took seconds already
                raise
            except ResponseError as error:
                refused = error
                self._dead.rotate(-1)
                continue
            self._dead.popleft()
            self._patience.succeeded()
            self._telemetry.write_notes()  # the supervisor has no thread for that, and no other notes
        if refused is not None:
            raise refused

    def _give_back(self, dead: _Dead) -> None:
        if dead.role == "worker":
            recovered = self._give_back_claims(dead)
        elif dead.role == "dispatcher":
            recovered = self._namespace.strategy.recover(dead.name)
            if recovered:
                log.info("made %d tasks ready that %s had in hand", recovered, dead.name)
        else:
            recovered = 1  # a reaper, that may have been in the middle of an audit
        if recovered:
            request_audit(self._namespace)

    def _give_back_claims(self, dead: _Dead) -> int:
        store = self._namespace.store
        # its connection may outlive it: the link is dead, or a child of a task holds the socket. The step that waits
        # there would take tasks for nobody; what it takes now is given back below
        store.end_sleep(dead.name, gone=True)
        # the death was seen on this host's clock; the record keeps Redis's
        server_us = store.time_us()
        since = max(0, server_us - (now_us() - dead.died_us))
        most_losses = self._max_losses if dead.blame else 0
        loss = Loss(dead.name, "worker_lost", most_losses, since, dead.how, dead.begun, dead.running)
        lost = store.give_back(loss)
        self._telemetry.lost(lost, server_us, "worker_lost", dead.how, dead.name)
        for claim in lost:
            if claim.how == "dead":
                log.error(
                    "task %s was running when its worker died, too many times now: it is a dead letter",
                    claim.id,
                    extra={"task_id": claim.id},
                )
            else:
                log.info("gave back task %s of %s", claim.id, dead.name, extra={"task_id": claim.id})
        return len(lost)
