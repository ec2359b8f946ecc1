"""The supervisor: keeps the wanted number of children of each role alive, and what they do moving.

Each turn of its loop does the same in the same order: heed signals, bury the dead, end the hung, renew the old, start
what is missing, give back what the dead held. Signal handlers only put signals into its inbox. It sends Redis nothing
while nothing happens.
"""

from __future__ import annotations

import itertools
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from multiprocess.connection import wait as wait_for

from ..config import RunOptions
from ..errors import BootFailure, DueqError, RestartLimitExceeded
from ..maintenance.recovery import Recovery
from ..process.exit_status import ExitStatus
from ..process.stop import Inbox
from ..schema.keys import childs_name
from ..telemetry.collector import Collector
from ..telemetry.counters import Counters
from ..telemetry.stacks import StackFile
from ..upkeep.engines import Process as ChildProcess
from ..upkeep.engines import Role
from .restarts import RestartLimit
from .slot import Member, Process, Slot
from .watchdog import Watchdog

log = logging.getLogger("dueq.supervisor")

_TICK_S = 1.0  # longest that a hung child or a stack dump goes unnoticed, and for a hung child to end by itself
_TICKS_PER_LEASE = 8  # at least: a worker that is silent for half a lease must be gone before the lease is
_BOOTING_S = 0.02  # between looks at children that begin: nothing signals when they are ready
_HEAD_START_S = 1.0  # at most, for the children that a first task needs, where processors are few
_DUMP = 0.2  # ticks, for a hung child to write its stacks
_SETTLE_S = 5.0  # for SIGKILL to be seen, and for Redis to take back what was held, before the end in any case

Spawn = Callable[[str, str], Process]
Wait = Callable[[Iterable[int], float], object]


class Supervisor:
    """See the module. ``run`` returns when asked to stop and all children are gone."""

    def __init__(
        self,
        options: RunOptions,
        collector: Collector,
        recovery: Recovery,
        inbox: Inbox,
        spawn: Spawn,
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_reload: Callable[[bool], None] = lambda _: None,
        on_turn: Callable[[bool], None] = lambda _: None,
        reap: Callable[[], None] = lambda: None,
        processors: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = lambda descriptors, seconds: wait_for(list(descriptors), seconds),
    ) -> None:
        """``on_reload`` is called with True when children begin to be replaced, with False when that is over;
        ``on_turn`` in each turn, with whether the supervisor is leaving. ``reap`` collects orphans, where this process
        inherits them. If there are fewer ``processors`` than children, one worker and one
        dispatcher begin before the others do. ``clock`` and ``wait`` are for tests."""
        self._options, self._collector, self._recovery, self._inbox = options, collector, recovery, inbox
        self._spawn, self._on_ready, self._on_reload, self._on_turn = spawn, on_ready, on_reload, on_turn
        self._reap, self._clock, self._wait = reap, clock, wait
        counts = {"worker": options.workers, "dispatcher": options.dispatchers, "reaper": 1}
        self._slots = [Slot(role) for role, count in counts.items() for _ in range(count)]
        self._head_start_until: float | None = None
        if processors is not None and processors < len(self._slots):
            self._give_head_start()
        self._limits = {
            role: RestartLimit(options.max_restarts * count, options.restart_window) for role, count in counts.items()
        }
        self._tick = min(_TICK_S, options.lease / _TICKS_PER_LEASE)
        self._watchdog = Watchdog(options.lease, options.hang_timeout)
        self._stacks = StackFile()
        self._numbers = itertools.count(1)
        self._renewing: deque[tuple[Slot, Member]] = deque()
        self._reloading = False
        self._ready = False
        self._wants_room = False  # and the log says so
        self._leave_by: float | None = None  # once it is set, the supervisor ends at this time in any case
        self._failure: DueqError | None = None

    def run(self) -> None:
        """Supervise until asked to stop, then drain.

        Raises BootFailure if a child cannot begin or its strategy does not own the namespace any more,
        RestartLimitExceeded if they die too often; all children are gone by then.
        """
        try:
            while (seconds := self.turn()) is not None:
                self._inbox.forget_wakeups()
                if not self._inbox.waiting:
                    self._wait([self._inbox.fileno(), *(member.child.sentinel for member in self._members())], seconds)
        finally:
            for member in self._members():  # SIGKILL has not ended it; or this process fails, and its children with it
                member.child.abandon()
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
        self._report()
        self._watchdog.asleep(self._clock())
        return None if self._is_over(now) else self._seconds_to_wait(now, recovery_in)

    @property
    def left_something(self) -> bool:
        """Whether a child is still there, or something that a child held is not given back yet."""
        return any(self._members()) or self._recovery.waiting

    def roles(self) -> dict[str, Role]:
        """The children of each role. Any thread may ask: what it sees may be a moment old."""
        found: dict[str, Role] = {}
        for slot in self._slots:
            role = found.get(slot.role, Role(0))
            there = tuple(
                ChildProcess(member.child.name, member.child.pid, "draining" if member.ending else member.state)
                for member in (slot.member, slot.successor)
                if member is not None
            )
            found[slot.role] = Role(role.wanted + 1, role.processes + there)
        return found

    def workers(self) -> dict[str, Counters]:
        """The counters of the workers, by name. Any thread may ask, as above."""
        workers = (member.child for member in self._members() if member.child.role == "worker")
        return {child.name: child.counters for child in workers}

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
        memory = child.counters
        running, begun = (None, []) if memory.damaged else (memory.token, memory.begun)
        # its exit status is dueq's own, not one that a task ended it with
        by_itself = child.counters.state == "draining" and not running
        how = ending.how if ending else f"was killed by {_name(-code)}" if code < 0 else f"exited with status {code}"
        self._log_stacks(member, over=True)
        if written := child.first_words():
            log.error("%s %d %s before it could log; it wrote: %s", child.role, child.pid, how, written)
        # a child that outlasts the time for a stop or a reload is killed: its task is not to blame for that
        in_order = by_itself and code in (ExitStatus.STOPPED, ExitStatus.DISPLACED, ExitStatus.RECYCLED)
        blame = ending.blame if ending else not in_order
        blame = blame and running is not None  # else nobody knows which task it was
        self._recovery.add(child.role, child.name, how=how, blame=blame, begun=begun, running=running)
        child.close()
        self._collector.retire(child.counters)
        was_successor = slot.leave(member)
        if self._leave_by is not None:
            if running:
                log.warning("%s %d ended while it ran a task, which is given back", child.role, child.pid)
            return
        if by_itself and code == ExitStatus.DISPLACED:
            self._fail(now, BootFailure(
                f"another strategy owns the namespace now, or another store, or a newer dueq, so this {child.role} "
                f"and all others end (the log above says which): start dueq run again, without the old --strategy or "
                f"with a newer dueq"
            ))  # fmt: skip
        elif was_successor and not was_ready:
            self._give_up_reload(f"the new {child.role} {how} before it was ready (see the log above)")
        elif code == ExitStatus.BOOT_FAILED and not was_ready and not self._ready:
            self._fail(now, BootFailure(f"a {child.role} could not begin its work; its reason is in the log above"))
        elif code == ExitStatus.NO_ROOM and not was_ready:
            self._wait_for_room(slot, f"a {child.role} could not begin for want of room", now)
        elif (ending is not None and ending.cause == "recycled") or (by_itself and code == ExitStatus.RECYCLED):
            log.info("%s %d was replaced: %s", child.role, child.pid, ending.how if ending else "it reached its limit")
            self._count_restart(child.role, "recycled")
        else:
            cause = ending.cause if ending else "signal" if code < 0 else "exit"
            self._count_restart(child.role, cause)
            who, lived = f"{child.role} {child.pid}", now - member.started_at
            self._start_later(slot, who, how, lived, now, blamed=bool(running))

    def _start_later(self, slot: Slot, who: str, how: str, lived: float, now: float, *, blamed: bool = False) -> None:
        delay, role = slot.backoff.delay(lived), slot.role
        slot.start_at = now + delay
        then = "starting another" if slot.member is None else "its place is taken"
        log.warning("%s %s; %s%s", who, how, then, f" in {delay:.1f} s" if delay and slot.member is None else "")
        # A task that kills its workers is buried before long: it must not take the whole fleet with it.
        if not blamed and not self._limits[role].note(now):
            self._fail(now, RestartLimitExceeded(
                f"{role} processes died more than {self._limits[role].most} times in "
                f"{self._options.restart_window:.0f} s, the last one {how}: see the log above for why, or raise "
                f"--max-restarts"
            ))  # fmt: skip

    def _wait_for_room(self, slot: Slot, why: str, now: float) -> None:
        """Try again later, as often as it takes: this is not a death, and giving up would not make room."""
        slot.start_at = now + slot.backoff.delay(0.0)
        if not self._wants_room:
            log.error("%s: trying again until there is room (memory, open files, processes)", why)
        self._wants_room = True

    def _end_the_hung(self, now: float) -> None:
        self._watchdog.awake(now)
        for member in self._members():
            if member.watched and (hang := self._watchdog.hang(member.child.counters, member.started_at, now)):
                log.error("%s %d is hung: %s", member.child.role, member.child.pid, hang.why)
                dump, term = (now, signal.SIGUSR1), (now + _DUMP * self._tick, signal.SIGTERM)
                kill = (now + (_DUMP + 1) * self._tick, signal.SIGKILL)
                token = hang.token
                member.end("hung", f"was hung: {hang.why}", dump, term, kill, blame=bool(token), token=token)
            member.spare()
            member.send_what_is_due(now)
            self._log_stacks(member)

    def _renew_the_old(self, now: float) -> None:
        """Replace one child at a time: start its successor first; once that is ready, the old one drains and ends."""
        while self._renewing and self._renewing[0][0].member is not self._renewing[0][1]:
            self._renewing.popleft()  # it was replaced; or it died, and the child in its place is new in any case
        if self._renewing:
            self._renew(*self._renewing[0], now)
        elif self._reloading:
            log.info("all children are replaced")
            self._end_reload()

    def _renew(self, slot: Slot, old: Member, now: float) -> None:
        if old.ending is not None:
            return
        if slot.successor is None:
            slot.successor = self._start(slot, now)
            if slot.successor is None:
                self._give_up_reload(f"a new {slot.role} could not be started")
        elif not slot.successor.booting:
            kill = (now + self._options.drain_timeout, signal.SIGKILL)
            old.end("recycled", "it made way for new code", (now, signal.SIGTERM), kill)

    def _start_the_missing(self, now: float) -> None:
        self._end_head_start(now)
        for slot in self._slots:
            if slot.member is None and slot.start_at <= now and not slot.later and self._leave_by is None:
                slot.member = self._start(slot, now)

    def _give_head_start(self) -> None:
        """Start one worker and one dispatcher first: a first task needs no more, and all at once would slow them."""
        first = {slot.role: slot for slot in reversed(self._slots) if slot.role != "reaper"}
        for slot in self._slots:
            slot.later = slot is not first.get(slot.role)
        self._head_start_until = self._clock() + _HEAD_START_S

    def _end_head_start(self, now: float) -> None:
        """End it once the children that have it are ready, or need too long for that."""
        if self._head_start_until is None:
            return
        first = [slot.member for slot in self._slots if not slot.later]
        if now >= self._head_start_until or all(member is not None and not member.booting for member in first):
            self._head_start_until = None
            for slot in self._slots:
                slot.later = False

    def _report(self) -> None:
        if stacks := self._stacks.read(over=True):
            log.info("stacks of the supervisor: %s", stacks)
        if (
            self._leave_by is None
            and not self._ready
            and all(slot.member is not None and not slot.member.booting for slot in self._slots)
        ):
            self._ready = True
            self._on_ready()
        if self._wants_room and all(slot.member is not None and not slot.member.booting for slot in self._slots):
            self._wants_room = False
            log.info("there is room for every process again")
        self._on_turn(self._leave_by is not None)

    # -- changes of course

    def _reload(self) -> None:
        if self._leave_by is None:
            log.info("replacing all children, one by one")
            self._reloading = True
            self._on_reload(True)
            # behind those of an earlier reload, whose successors may have the code from before this reload
            self._renewing.extend((slot, member) for slot in self._slots for member in slot.members())

    def _give_up_reload(self, why: str) -> None:
        log.error(
            "%s: the other children stay as they are (but children started from now on have the new code): fix the "
            "cause and send SIGHUP again",
            why,
        )
        self._renewing.clear()
        self._end_reload()

    def _end_reload(self) -> None:
        self._reloading = False
        self._on_reload(False)

    def _leave(self, now: float) -> None:
        """Let running tasks finish, for a while; what is not finished then is given back."""
        drained = now + self._options.drain_timeout
        self._leave_by = drained + _SETTLE_S
        for member in self._members():
            if member.ending is None or member.ending.cause != "hung":
                member.end("stopped", "was told to stop", (now, signal.SIGTERM), (drained, signal.SIGKILL))

    def _hurry(self, now: float) -> None:
        self._leave_no_later_than(now + _SETTLE_S)
        for member in self._members():
            member.end("stopped", "was told to stop at once", (now, signal.SIGKILL))

    def _leave_no_later_than(self, at: float) -> None:
        self._leave_by = at if self._leave_by is None else min(self._leave_by, at)

    def _fail(self, now: float, error: DueqError) -> None:
        self._failure = error
        self._leave(now)

    # -- helpers

    def _start(self, slot: Slot, now: float) -> Member | None:
        try:
            child = self._spawn(slot.role, childs_name(slot.role, self._options.supervisor, next(self._numbers)))
        except (OSError, MemoryError) as error:  # too many processes, files, or too little memory: that may pass
            self._wait_for_room(slot, f"a {slot.role} could not be started: {str(error) or 'no memory'}", now)
            return None
        self._collector.adopt(child.counters, slot.role, child.pid)
        return Member(child, now)

    def _members(self) -> Iterator[Member]:
        for slot in self._slots:
            yield from slot.members()

    def _count_restart(self, role: str, cause: str) -> None:
        self._collector.own.counter("dueq_process_restarts_total", role=role, cause=cause).inc()

    def _log_stacks(self, member: Member, *, over: bool = False) -> None:
        if stacks := member.child.stacks(over=over):
            log.info("stacks of %s %d: %s", member.child.role, member.child.pid, stacks)

    def _is_over(self, now: float) -> bool:
        if self._leave_by is None:
            return False
        if not any(self._members()):
            if not self._recovery.waiting:
                return True
            self._leave_no_later_than(now + _SETTLE_S)
        if now < self._leave_by:
            return False
        if self._recovery.waiting:
            log.warning("Redis is away: what the workers held is taken back when their leases run out")
        return True

    def _seconds_to_wait(self, now: float, recovery_in: float | None) -> float:
        waits = [self._tick] if recovery_in is None else [self._tick, recovery_in]
        for slot in self._slots:
            if slot.member is None and not slot.later and self._leave_by is None:
                waits.append(slot.start_at - now)
            for member in slot.members():
                if member.booting:  # a child that waits for Redis may take hours
                    waits.append(max(_BOOTING_S, (now - member.started_at) / 20))
                deadline = self._watchdog.next_deadline(member.child.counters) if member.watched else None
                waits += [at - now for at in (member.next_step(), deadline) if at is not None]
        if self._leave_by is not None:
            waits.append(self._leave_by - now)
        return max(0.0, min(waits))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
