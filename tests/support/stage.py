"""A supervisor on a stage: fake children, a clock that moves only when it waits, and notes of all that happens."""

from __future__ import annotations

import itertools
import signal
import types
from collections.abc import Callable, Iterable

import pytest

from dueq.core.config import RunOptions, Settings
from dueq.core.maintenance.recovery import Recovery
from dueq.core.process.exit_status import ExitStatus
from dueq.core.process.stop import Inbox
from dueq.core.supervisor.supervisor import Supervisor
from dueq.core.telemetry import counters as counters_module
from dueq.core.telemetry.collector import Collector
from dueq.core.telemetry.counters import Counters

BOOT_S = 0.3
_SPINS = 50  # turns at one instant; more is a busy loop


class FakeChild:
    """A child that boots in BOOT_S, then works, and ends at once when it is signalled, unless a test changes that."""

    _pids = itertools.count(100)

    def __init__(self, stage: Stage, role: str, name: str) -> None:
        self.stage, self.role, self.name = stage, role, name
        self.counters, self.pid, self.sentinel = Counters(1 << 14), next(self._pids), -1
        self.started_at = stage.now
        self.code: int | None = None
        self.ended_at = 0.0
        self.sent: list[tuple[float, signal.Signals]] = []
        self.obeys = {signal.SIGTERM: 0.0, signal.SIGKILL: 0.0}
        self.beats = self.turns = True  # its interpreter runs; its loop comes round
        self.boots, self.waits_for_redis = True, False
        self.stack, self.writes = "", False  # what it was doing, and whether it is in the middle of saying so
        self.closed = self.abandoned = False

    # -- what the supervisor calls

    def exit_code(self) -> int | None:
        self.stage.note("look")
        return self.code

    def send(self, number: signal.Signals) -> None:
        self.stage.note(f"{number.name} {self.role}")
        if self.code is not None:
            return
        self.sent.append((self.stage.now, number))
        if number in self.obeys:
            code = -number if number is signal.SIGKILL or self.counters.state == "booting" else ExitStatus.STOPPED
            self.stage.after(self.obeys[number], lambda: self.die(code))

    def stacks(self, *, over: bool = False) -> str:
        if self.writes and not over:
            return ""
        told, self.stack = self.stack, ""
        return told

    def first_words(self) -> str:
        return ""

    def abandon(self) -> None:
        self.abandoned = True

    def close(self) -> None:
        assert self.code is not None, "closed while it lives"
        self.closed = True

    # -- what happens to it

    def live(self) -> None:
        """Give the signs of life that are due now."""
        if self.code is not None:
            return
        if self.waits_for_redis:
            self.counters.turn()
        elif self.boots and self.counters.state == "booting" and self.stage.now >= self.started_at + BOOT_S:
            self.counters.state = "ready"
        if self.turns and self.counters.state != "booting" and not self.counters.token:
            self.counters.turn()
        if self.beats:
            self.counters.beat()

    def die(self, code: int) -> None:
        """End, if it has not ended yet."""
        if self.code is None:
            self.code, self.ended_at = code, self.stage.now

    def leave(self, code: int) -> None:
        """End by itself, in order."""
        self.counters.state = "draining"
        self.die(code)

    def begin(self, token: int, hard_timeout: float | None = None) -> None:
        """Begin a task; SIGTERM then waits for its end."""
        self.counters.begin(token, hard_timeout)
        self.obeys.pop(signal.SIGTERM, None)

    def signals(self) -> list[tuple[float, str]]:
        """The signals that it got, with their times in seconds since the first."""
        return [(round(at - self.sent[0][0], 3), number.name) for at, number in self.sent]

    @property
    def alive(self) -> bool:
        return self.code is None


class FakeRecovery(Recovery):
    """Notes whose tasks were given back. ``away`` stands for a Redis that does not reply."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self.away, self._waits = stage, False, 0
        self.given: list[tuple[str, str, bool]] = []

    def add(
        self,
        role: str,
        name: str,
        *,
        how: str = "",
        blame: bool = True,
        begun: Iterable[int] = (),
        running: int | None = 0,
    ) -> None:
        self.given.append((name, how, blame))
        self._waits += 1

    @property
    def waiting(self) -> bool:
        return self._waits > 0

    def run_once(self) -> float | None:
        self._stage.note("give back")
        if self.away and self._waits:
            return 0.5
        self._waits = 0
        return None

    def of(self, child: FakeChild) -> tuple[str, bool]:
        """How a child ended, and whether its task is to blame; it was given back once."""
        [(_, how, blame)] = [given for given in self.given if given[0] == child.name]
        return how, blame


class Stage:
    """The supervisor under test and its world. Times are seconds; the clock begins at 1000."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, processors: int | None = None, **options: object) -> None:
        self.now = 1000.0
        monkeypatch.setattr(counters_module, "time", types.SimpleNamespace(monotonic=lambda: self.now))
        settings: dict[str, object] = {
            "workers": 2,
            "dispatchers": 1,
            "max_restarts": 100,
            "lease": 10.0,
            "hang_timeout": 30.0,
        }
        settings["supervisor"] = "supervisor.stage.1.abc"
        self.options = RunOptions("app:app", **(settings | options))  # type: ignore[arg-type]
        self.children: list[FakeChild] = []
        self.notes: list[str] = []
        self.waits: list[float] = []
        self.told: list[object] = []
        self.leaving = False
        self.at_turns_end: list[Callable[[], object]] = []
        self.no_room: Exception | None = None
        self.on_spawn: Callable[[FakeChild], None] = lambda child: None
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()
        self._spins = 0
        self.inbox = Inbox()
        self.recovery = FakeRecovery(self)
        self.collector = Collector(Settings("redis://127.0.0.1:1", "stage"), "lua", ["default"], {})
        self.supervisor = Supervisor(
            self.options,
            self.collector,
            self.recovery,
            self.inbox,
            self._spawn,
            on_ready=lambda: self.told.append("ready"),
            on_reload=lambda begins: self.told.append("reload" if begins else "reloaded"),
            on_turn=self._turned,
            reap=lambda: self.note("reap"),
            processors=processors,
            clock=lambda: self.now,
            wait=self.wait,
        )

    # -- what a test does

    def go(self, seconds: float) -> None:
        """Let so much time pass, or less if the supervisor ends."""
        until = self.now + seconds
        while self.now < until:
            left = self.supervisor.turn()
            if left is None:
                return
            self.wait((), min(left, until - self.now))
        self.supervisor.turn()

    def ready(self) -> None:
        """Let all started children become ready."""
        self.go(2 * BOOT_S)

    def send(self, number: signal.Signals) -> None:
        self.inbox.put(number)

    def end(self) -> None:
        """Run to the end; raises what the supervisor raises."""
        self.supervisor.run()

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        self._events.append((self.now + seconds, next(self._number), event))
        self._events.sort(key=lambda event: event[:2])

    def of(self, role: str) -> list[FakeChild]:
        """The living children of a role."""
        return [child for child in self.children if child.role == role and child.alive]

    def restarts(self, **labels: str) -> float:
        """The counter of restarts with these labels."""
        return sum(
            series.values[0]
            for series in self.collector.own.series()
            if series.definition.name == "dueq_process_restarts_total"
            and labels.items() <= dict(zip(series.definition.labels, series.labels, strict=True)).items()
        )

    def close(self) -> None:
        self.collector.own.close()
        self.inbox.close()

    # -- the world

    def note(self, what: str) -> None:
        self.notes.append(what)

    def wait(self, descriptors: Iterable[int], seconds: float) -> None:
        """Let time pass until something happens, at most so many seconds."""
        self.waits.append(seconds)
        assert seconds >= 0
        before, until = self.now, self.now + seconds
        if self._events and self._events[0][0] <= until:
            self.now, _, event = self._events.pop(0)
            event()
        else:
            self.now = until
        self._spins = self._spins + 1 if self.now == before else 0
        assert self._spins < _SPINS, "the supervisor's loop spins"
        for child in self.children:
            child.live()

    def _spawn(self, role: str, name: str) -> FakeChild:
        self.note(f"start {role}")
        if self.no_room is not None:
            raise self.no_room
        child = FakeChild(self, role, name)
        self.children.append(child)
        self.on_spawn(child)
        return child

    def _turned(self, leaving: bool) -> None:
        self.leaving = leaving
        self.note("turn")
        while self.at_turns_end:
            self.at_turns_end.pop(0)()
