"""The supervisor: keeps the wanted number of children of each role alive, and what they do moving.

Each turn of its loop does the same in the same order: heed signals, bury the dead, end the hung, renew the old, start
what is missing, give back what the dead held. Signal handlers only put signals into its inbox. It sends Redis nothing
while nothing happens.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from multiprocess.connection import wait as wait_for

from .config import RunOptions
from .errors import BootFailure, DueqError, RestartLimitExceeded
from .exposition import Board
from .keys import unique_name
from .recovery import Recovery
from .restarts import RestartLimit
from .slot import Member, Process, Slot
from .stacks import StackFile
from .statuses import BOOT_FAILED, DISPLACED, RECYCLED
from .stop import Inbox
from .watchdog import Watchdog

log = logging.getLogger("dueq.supervisor")

_TICK_S = 1.0  # longest that a hung child or a stack dump goes unnoticed
_BOOTING_S = 0.02  # between looks at children that begin: nothing tells when they are ready
_DUMP_S = 0.2  # for a hung child to write its stacks
_TERM_S = 1.0  # for a hung child to end by itself
_SETTLE_S = 5.0  # for SIGKILL to be seen, and for Redis to take back what was held, before we leave all the same

Spawn = Callable[[str, str], Process]
Wait = Callable[[Iterable[int], float], object]


class Supervisor:
    """See the module. ``run`` returns when asked to stop and all children are gone."""

    def __init__(
        self,
        options: RunOptions,
        board: Board,
        recovery: Recovery,
        inbox: Inbox,
        spawn: Spawn,
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_reload: Callable[[bool], None] = lambda _: None,
        on_turn: Callable[[bool], None] = lambda _: None,
        reap: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = lambda descriptors, seconds: wait_for(list(descriptors), seconds),
    ) -> None:
        """``on_reload`` is told True when children begin to be replaced, False when that is over; ``on_turn``, each
        time round, whether we are leaving. ``reap`` buries other
        processes' orphans, where those come to us. ``clock`` and ``wait`` are for tests."""
        self._options, self._board, self._recovery, self._inbox = options, board, recovery, inbox
        self._spawn, self._on_ready, self._on_reload, self._on_turn = spawn, on_ready, on_reload, on_turn
        self._reap, self._clock, self._wait = reap, clock, wait
        counts = {"worker": options.workers, "dispatcher": options.dispatchers, "reaper": 1}
        self._slots = [Slot(role) for role, count in counts.items() for _ in range(count)]
        self._limits = {
            role: RestartLimit(options.max_restarts * count, options.restart_window) for role, count in counts.items()
        }
        self._watchdog = Watchdog(options.lease, options.hang_timeout)
        self._stacks = StackFile()
        self._renewing: deque[tuple[Slot, Member]] = deque()
        self._ready = False
        self._leave_by: float | None = None  # set once it is to end: when it does in any case
        self._hurried = False
        self._failure: DueqError | None = None

    def run(self) -> None:
        """Supervise until asked to stop, then drain.

        Raises BootFailure if a child cannot begin or its strategy does not keep the namespace any more,
        RestartLimitExceeded if they die too often; all children are gone by then.
        """
        while (seconds := self.turn()) is not None:
            self._inbox.forget_wakeups()
            if not self._inbox.waiting:
                self._wait([self._inbox.fileno(), *(member.child.sentinel for member in self._members())], seconds)
        self._stacks.close()
        if self._failure is not None:
            raise self._failure

    def turn(self) -> float | None:
        """One round of duties; returns how many seconds may pass until the next, None when there is nothing left."""
        now = self._clock()
        self._heed_signals(now)
        self._bury_the_dead(now)
        self._end_the_hung(now)
        if self._leave_by is None:
            self._renew_the_old(now)
            self._start_the_missing(now)
        recovery_in = self._recovery.run_once()
        self._tell()
        return None if self._is_over(now) else self._seconds_to_wait(now, recovery_in)

    # -- duties

    def _heed_signals(self, now: float) -> None:
        for number in self._inbox.take():
            if number is signal.SIGHUP:
                self._reload()
            elif number is signal.SIGUSR1:
                self._stacks.write()
                for member in self._members():
                    member.child.send(number)
            elif self._leave_by is None:
                self._leave(now)
            else:
                self._hurry(now)

    def _bury_the_dead(self, now: float) -> None:
        for slot in self._slots:
            for member in list(slot.members()):
                code = member.child.exit_code()
                if code is not None:
                    self._bury(slot, member, code, now)
        self._reap()  # after ours, whose exit statuses it would take

    def _bury(self, slot: Slot, member: Member, code: int, now: float) -> None:
        child, ending, was_ready = member.child, member.ending, not member.booting
        by_itself = child.tally.state == "draining"  # so its exit status is ours, not one that a task ended it with
        how = ending.how if ending else f"was killed by {_name(-code)}" if code < 0 else f"exited with status {code}"
        self._log_stacks(member)
        # what outlasts the time that a stop or a reload leaves it is killed by us: that is not held against it
        self._recovery.add(child.role, child.name, how=how, blame=ending.blame if ending else True)
        running = child.tally.token
        child.close()
        self._board.retire(child.tally)
        was_successor = slot.leave(member)
        if self._leave_by is not None:
            if code < 0:
                log.warning(
                    "%s %d was still busy, and was killed; a task that it ran will run again", child.role, child.pid
                )
            return
        if by_itself and code == DISPLACED:
            self._fail(now, BootFailure(
                f"another strategy keeps the namespace now, so this {child.role} and all others end (see the log "
                f"above): start dueq run again, without the old --strategy"
            ))  # fmt: skip
        elif was_successor and not was_ready:
            self._give_up_reload(f"the new {child.role} {how} before it was ready (see the log above)")
        elif code == BOOT_FAILED and not was_ready and not self._ready:
            self._fail(now, BootFailure(f"a {child.role} could not begin its work; its reason is in the log above"))
        elif (ending is not None and ending.cause == "recycled") or (by_itself and code == RECYCLED):
            log.info("%s %d was replaced: %s", child.role, child.pid, ending.how if ending else "it reached its limit")
            self._count_restart(child.role, "recycled")
        else:
            cause = ending.cause if ending else "signal" if code < 0 else "exit"
            self._restart_later(slot, member, how, cause, now, blamed=bool(running))

    def _restart_later(self, slot: Slot, member: Member, how: str, cause: str, now: float, *, blamed: bool) -> None:
        role, pid = member.child.role, member.child.pid
        delay = slot.backoff.delay(now - member.started_at)
        slot.start_at = now + delay
        log.warning("%s %d %s; starting another%s", role, pid, how, f" in {delay:.1f} s" if delay else "")
        self._count_restart(role, cause)
        # A task that kills its workers is buried before long: it must not take the whole fleet with it.
        if not blamed and not self._limits[role].note(now):
            self._fail(now, RestartLimitExceeded(
                f"{role} processes died more than {self._limits[role].most} times in "
                f"{self._options.restart_window:.0f} s, the last one {how}: see the log above for why, or raise "
                f"--max-restarts"
            ))  # fmt: skip

    def _end_the_hung(self, now: float) -> None:
        self._watchdog.awake(now)
        for member in self._members():
            if member.ending is None and (hang := self._watchdog.hang(member.child.tally, member.started_at, now)):
                log.error("%s %d is hung: %s", member.child.role, member.child.pid, hang.why)
                dump, term = (now, signal.SIGUSR1), (now + _DUMP_S, signal.SIGTERM)
                kill = (now + _DUMP_S + _TERM_S, signal.SIGKILL)
                member.end("hung", f"was hung: {hang.why}", dump, term, kill, blame=hang.blame)
            member.send_what_is_due(now)
            self._log_stacks(member)

    def _renew_the_old(self, now: float) -> None:
        """One at a time: its successor first, and only once that is ready the old one drains and goes."""
        while self._renewing:
            slot, old = self._renewing[0]
            if slot.member is not old:  # replaced; or it died, and what takes its place is new in any case
                self._renewing.popleft()
                if not self._renewing:
                    log.info("all children are replaced")
                    self._on_reload(False)
            elif slot.successor is None and old.ending is None:
                slot.successor = self._start(slot.role, now)
                return
            elif slot.successor is not None and not slot.successor.booting and old.ending is None:
                kill = (now + self._options.drain_timeout, signal.SIGKILL)
                old.end("recycled", "it was told to make way for new code", (now, signal.SIGTERM), kill)
                old.send_what_is_due(now)
                return
            else:
                return

    def _start_the_missing(self, now: float) -> None:
        for slot in self._slots:
            if slot.member is None and slot.start_at <= now:
                slot.member = self._start(slot.role, now)

    def _tell(self) -> None:
        if stacks := self._stacks.read():
            log.info("stacks of the supervisor: %s", stacks)
        if (
            self._leave_by is None
            and not self._ready
            and all(slot.member is not None and not slot.member.booting for slot in self._slots)
        ):
            self._ready = True
            self._on_ready()
        self._on_turn(self._leave_by is not None)

    # -- changes of course

    def _reload(self) -> None:
        if self._leave_by is None:
            log.info("replacing all children, one by one")
            self._on_reload(True)
            self._renewing = deque((slot, slot.member) for slot in self._slots if slot.member is not None)

    def _give_up_reload(self, why: str) -> None:
        log.error("%s: the other children stay as they are; send SIGHUP again once it is put right", why)
        self._renewing.clear()
        self._on_reload(False)

    def _leave(self, now: float) -> None:
        """Let running tasks finish, for a while; what is not finished then is given back."""
        drained = now + self._options.drain_timeout
        self._leave_by = drained + _SETTLE_S
        for member in self._members():
            if member.ending is None or member.ending.cause != "hung":
                member.end("stopped", "was told to stop", (now, signal.SIGTERM), (drained, signal.SIGKILL))

    def _hurry(self, now: float) -> None:
        self._hurried, self._leave_by = True, now + _SETTLE_S
        for member in self._members():
            member.end("stopped", "was told to stop at once", (now, signal.SIGKILL))

    def _fail(self, now: float, error: DueqError) -> None:
        self._failure = self._failure or error
        self._leave(now)

    # -- helpers

    def _start(self, role: str, now: float) -> Member:
        child = self._spawn(role, unique_name(role))
        self._board.adopt(child.tally, role)
        return Member(child, now)

    def _members(self) -> Iterator[Member]:
        for slot in self._slots:
            yield from slot.members()

    def _count_restart(self, role: str, cause: str) -> None:
        self._board.own.counter("dueq_process_restarts_total", role=role, cause=cause).inc()

    def _log_stacks(self, member: Member) -> None:
        if stacks := member.child.stacks():
            log.info("stacks of %s %d: %s", member.child.role, member.child.pid, stacks)

    def _is_over(self, now: float) -> bool:
        if self._leave_by is None:
            return False
        if not any(self._members()) and not self._recovery.waiting:
            return True
        if now < self._leave_by:
            return False
        if self._recovery.waiting:
            log.warning("Redis is away: what the workers held is taken back when their leases run out")
        return True

    def _seconds_to_wait(self, now: float, recovery_in: float | None) -> float:
        waits = [_TICK_S] if recovery_in is None else [_TICK_S, recovery_in]
        for slot in self._slots:
            if slot.member is None and self._leave_by is None:
                waits.append(slot.start_at - now)
            for member in slot.members():
                if member.booting:
                    waits.append(_BOOTING_S)
                times = (member.next_step(), self._watchdog.next_deadline(member.child.tally))
                waits += [at - now for at in times if at is not None]
        if self._leave_by is not None:
            waits.append(self._leave_by - now)
        return max(0.0, min(waits))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
