"""The supervisor's loop, driven turn by turn: fake children, and a clock that only waiting moves."""

from __future__ import annotations

import itertools
import logging
import re
import signal
from collections.abc import Callable, Iterator

import pytest
from support.stage import BOOT_S, FakeChild, Stage

from dueq.core.errors import BootFailure, RestartLimitExceeded
from dueq.core.process.exit_status import ExitStatus

SETTLE_S = 5.0  # what the supervisor allows for SIGKILL and for Redis, beyond what it was asked for

MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeStage]:
    stages: list[Stage] = []

    def make(*, processors: int | None = None, **options: object) -> Stage:
        stages.append(Stage(monkeypatch, processors=processors, **options))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """Two workers, a dispatcher and a reaper, all ready."""
    stage = make_stage()
    stage.ready()
    return stage


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """The log, whatever other tests have done to it."""
    monkeypatch.setattr(logging.getLogger("dueq"), "propagate", True)
    caplog.set_level(logging.INFO, "dueq")
    return caplog


# -- the loop itself


def test_it_starts_what_is_wanted_and_says_once_when_all_are_ready(make_stage: MakeStage) -> None:
    stage = make_stage(workers=3, dispatchers=2)
    stage.go(BOOT_S / 2)
    assert [len(stage.of(role)) for role in ("worker", "dispatcher", "reaper")] == [3, 2, 1]
    assert stage.told == []
    stage.go(5)
    assert stage.told == ["ready"]
    assert len(stage.children) == 6
    assert stage.restarts() == 0


def test_where_processors_are_few_what_a_first_task_needs_begins_first(make_stage: MakeStage) -> None:
    stage = make_stage(workers=3, dispatchers=2, processors=2)
    stage.go(BOOT_S * 0.9)
    assert [child.role for child in stage.children] == ["worker", "dispatcher"]
    stage.go(BOOT_S * 0.2)
    assert sorted(child.role for child in stage.children[2:]) == ["dispatcher", "reaper", "worker", "worker"]
    stage.go(5)
    assert stage.told == ["ready"]
    assert len(stage.children) == 6


@pytest.mark.parametrize("how", ["dies", "never begins"])
def test_the_others_do_not_wait_for_long(make_stage: MakeStage, how: str) -> None:
    stage = make_stage(workers=3, processors=2)

    def fail(child: FakeChild) -> None:
        if len(stage.children) == 1:
            child.boots = False
            if how == "dies":
                stage.after(0.01, lambda: child.die(-9))

    stage.on_spawn = fail
    stage.go(1.1)
    assert len(stage.of("worker")) == 3
    assert len(stage.of("reaper")) == 1
    assert max(stage.waits) > 0.01  # it did not spin meanwhile


def test_one_that_is_told_to_stop_at_once_starts_no_others(make_stage: MakeStage) -> None:
    stage = make_stage(workers=3, processors=2)
    stage.go(BOOT_S / 2)
    stage.send(signal.SIGTERM)
    stage.end()
    assert len(stage.children) == 2


def test_one_missing_is_not_ready(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.on_spawn = lambda child: setattr(child, "boots", child.role != "dispatcher")
    stage.go(60)
    assert stage.told == []


def test_a_turn_does_its_duties_in_their_order(stage: Stage) -> None:
    hung, dead = stage.of("worker")
    hung.begin(1, hard_timeout=0.0001)
    stage.now += 1
    dead.die(-9)
    stage.send(signal.SIGHUP)
    stage.notes.clear()
    stage.supervisor.turn()
    duties = list(dict.fromkeys(stage.notes))
    assert duties == ["look", "reap", "SIGUSR1 worker", "start worker", "give back", "turn"]
    assert stage.told == ["ready", "reload"]


def test_signals_are_heeded_before_the_dead_are_buried(stage: Stage) -> None:
    """One who dies of the same Ctrl-C that reached us is not started again."""
    stage.send(signal.SIGINT)
    stage.of("worker")[0].die(-2)
    started = len(stage.children)
    stage.end()
    assert len(stage.children) == started
    assert stage.restarts() == 0


def test_while_all_is_well_it_looks_once_a_second_and_does_nothing(stage: Stage) -> None:
    stage.waits.clear()
    stage.notes.clear()
    stage.go(100)
    assert len(stage.waits) == pytest.approx(100, abs=2)
    assert set(stage.notes) == {"look", "reap", "give back", "turn"}


def test_a_signal_that_came_meanwhile_is_not_slept_over(stage: Stage) -> None:
    began = stage.now
    stage.at_turns_end = [lambda: stage.send(signal.SIGTERM)]
    stage.end()
    assert all(child.sent == [(began, signal.SIGTERM)] for child in stage.children)


def test_a_child_that_waits_for_redis_for_hours_costs_no_busy_loop(make_stage: MakeStage) -> None:
    stage = make_stage(workers=1)
    stage.on_spawn = lambda child: setattr(child, "waits_for_redis", True)
    stage.go(30)
    stage.waits.clear()
    stage.go(3000)
    assert len(stage.waits) <= 3000 + 1, "once a second"
    assert not any(child.sent for child in stage.children), "none is taken for hung"
    assert stage.told == []


# -- deaths


@pytest.mark.parametrize(
    ("code", "cause", "how"),
    [(1, "exit", "exited with status 1"), (0, "exit", "exited with status 0"), (-9, "signal", "was killed by SIGKILL")],
)
@pytest.mark.parametrize("role", ["worker", "dispatcher", "reaper"])
def test_what_dies_is_replaced_at_once_and_given_back(stage: Stage, role: str, code: int, cause: str, how: str) -> None:
    dead, others = stage.of(role)[0], [child for child in stage.children if child.role != role]
    dead.die(code)
    stage.supervisor.turn()
    assert stage.children[-1].role == role
    assert stage.children[-1].started_at == stage.now
    assert dead.closed
    assert stage.restarts() == stage.restarts(role=role, cause=cause) == 1
    assert stage.recovery.of(dead) == (how, True)
    assert stage.recovery.waiting is False, "given back in the same turn"
    assert sum(stage.collector.processes().values()) == 4
    stage.go(5)
    assert all(child.alive and not child.sent for child in others)


def test_an_unknown_signal_has_a_number(stage: Stage) -> None:
    stage.of("worker")[0].die(-44)
    stage.go(1)
    assert stage.recovery.given[0][1] == "was killed by signal 44"


def test_a_worker_that_crashes_in_a_loop_waits_longer_each_time_and_holds_up_nobody(make_stage: MakeStage) -> None:
    stage = make_stage(workers=2)
    stage.ready()
    healthy, first = stage.of("worker")
    stage.on_spawn = lambda child: stage.after(0.01, lambda: child.die(1))
    first.die(1)
    stage.go(15)
    crashed = [child for child in stage.children if child.role == "worker" and child is not healthy]
    gaps = [later.started_at - earlier.ended_at for earlier, later in itertools.pairwise(crashed)]
    assert len(gaps) >= 8
    for gap, full in zip(gaps, [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0], strict=False):
        assert full / 2 - 1e-6 <= gap <= full + 1e-6
    assert [len(stage.of(role)) for role in ("dispatcher", "reaper")] == [1, 1]
    assert not any(child.sent for child in (healthy, *stage.of("dispatcher"), *stage.of("reaper")))
    assert stage.restarts() == stage.restarts(role="worker", cause="exit") == sum(not one.alive for one in crashed)


def test_another_that_dies_meanwhile_is_replaced_at_once(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.ready()
    stage.on_spawn = lambda child: stage.after(0.01, lambda: child.die(1)) if child.role == "worker" else None
    for worker in stage.of("worker"):
        worker.die(1)
    stage.go(3)
    dispatcher = stage.of("dispatcher")[0]
    dispatcher.die(-9)
    stage.supervisor.turn()
    assert stage.of("dispatcher")[0].started_at == dispatcher.ended_at


def test_too_many_deaths_end_it_with_the_reason(make_stage: MakeStage) -> None:
    stage = make_stage(workers=1, max_restarts=2)
    stage.ready()
    stage.on_spawn = lambda child: stage.after(0.01, lambda: child.die(7))
    stage.of("worker")[0].die(7)
    with pytest.raises(RestartLimitExceeded, match=r"worker processes died more than 2 times .* exited with status 7"):
        stage.end()
    assert stage.restarts(role="worker") == 3
    assert not any(child.alive for child in stage.children)
    assert [child.signals() for child in stage.children if child.role != "worker"] == [[(0, "SIGTERM")]] * 2


def test_each_role_has_a_limit_of_its_own_per_process(make_stage: MakeStage) -> None:
    stage = make_stage(workers=3, max_restarts=2)
    stage.ready()
    for role, count in (("worker", 6), ("dispatcher", 2), ("reaper", 2)):
        for _ in range(count):
            stage.of(role)[0].die(1)
            stage.go(BOOT_S * 2 + 0.2)
    stage.go(10)
    assert not stage.leaving
    stage.of("dispatcher")[0].die(1)
    with pytest.raises(RestartLimitExceeded, match=r"dispatcher"):
        stage.end()


def test_deaths_long_ago_do_not_count(make_stage: MakeStage) -> None:
    stage = make_stage(workers=1, max_restarts=1, restart_window=60)
    stage.ready()
    for _ in range(5):
        stage.of("worker")[0].die(1)
        stage.go(61)
    assert not stage.leaving


def test_deaths_blamed_on_a_task_do_not_count(make_stage: MakeStage) -> None:
    """It becomes a dead letter before long; the fleet stays."""
    stage = make_stage(workers=1, max_restarts=0)
    stage.ready()
    for token in range(1, 20):
        stage.of("worker")[0].begin(token)
        stage.of("worker")[0].die(-11)
        stage.go(6)
    assert not stage.leaving
    assert stage.restarts(role="worker", cause="signal") == 19


def test_recycled_workers_are_replaced_at_once_and_do_not_count(make_stage: MakeStage) -> None:
    stage = make_stage(workers=1, max_restarts=0)
    stage.ready()
    for _ in range(20):
        old = stage.of("worker")[0]
        old.leave(ExitStatus.RECYCLED)
        stage.supervisor.turn()
        assert stage.of("worker")[0].started_at == old.ended_at
        stage.go(BOOT_S * 2)
    assert not stage.leaving
    assert stage.restarts() == stage.restarts(role="worker", cause="recycled") == 20


def test_a_process_that_cannot_be_started_is_tried_again_later(make_stage: MakeStage) -> None:
    stage = make_stage(workers=1)
    stage.ready()
    stage.no_room = OSError(11, "Resource temporarily unavailable")
    stage.of("worker")[0].die(-9)
    stage.go(3)
    assert 4 <= stage.notes.count("start worker") <= 12
    assert not any(child.sent for child in stage.children), "the others go on"
    stage.no_room = None
    stage.go(5 + BOOT_S)
    assert len(stage.of("worker")) == 1


@pytest.mark.parametrize("error", [OSError(11, "Resource temporarily unavailable"), MemoryError()])
def test_no_room_is_no_death_however_long_it_lasts_and_is_said_once(
    make_stage: MakeStage, told: pytest.LogCaptureFixture, error: Exception
) -> None:
    stage = make_stage(workers=2, max_restarts=0)
    stage.no_room = error
    stage.go(600)
    assert not stage.leaving
    assert stage.restarts() == 0
    assert 100 < stage.notes.count("start worker") < 500, "every few seconds each"
    assert told.text.count("could not be started") == 1
    stage.no_room = None
    stage.go(5 + BOOT_S)
    assert stage.told == ["ready"]
    assert "there is room for every process again" in told.text


@pytest.mark.parametrize("role", ["worker", "dispatcher", "reaper"])
def test_a_child_that_finds_no_room_to_begin_is_no_death(
    make_stage: MakeStage, told: pytest.LogCaptureFixture, role: str
) -> None:
    stage = make_stage(max_restarts=0)
    stage.on_spawn = lambda child: (
        stage.after(0.1, lambda: child.die(ExitStatus.NO_ROOM)) if child.role == role else None
    )
    stage.go(60)
    assert not stage.leaving
    assert stage.restarts() == 0
    assert told.text.count("for want of room") == 1
    stage.on_spawn = lambda child: None
    stage.go(6)
    assert stage.told == ["ready"]


def test_the_status_for_no_room_is_a_death_like_any_other_once_it_was_ready(stage: Stage) -> None:
    """A task may have ended its worker with it."""
    stage.of("worker")[0].die(ExitStatus.NO_ROOM)
    stage.supervisor.turn()
    assert stage.restarts(role="worker", cause="exit") == 1


def test_once_it_is_to_end_nothing_more_is_started(make_stage: MakeStage) -> None:
    stage = make_stage(workers=3, max_restarts=0)
    stage.ready()
    stage.notes.clear()
    for worker in stage.of("worker"):
        worker.die(-9)
    with pytest.raises(RestartLimitExceeded):
        stage.end()
    assert [note for note in stage.notes if note.startswith("start")] == []


def test_what_it_wrote_with_its_last_breath_is_logged(stage: Stage, told: pytest.LogCaptureFixture) -> None:
    worker = stage.of("worker")[0]
    worker.stack, worker.writes = "main thread: crash", True
    stage.go(2)
    assert "main thread: crash" not in told.text
    worker.die(-6)
    stage.supervisor.turn()
    assert f"stacks of worker {worker.pid}: main thread: crash" in told.text


def test_a_worker_whose_task_has_ended_after_all_is_let_go_on(stage: Stage) -> None:
    """Else the next task would be killed, and blamed, for the one before it."""
    worker = stage.of("worker")[0]
    worker.begin(1, hard_timeout=0.5)
    worker.writes = True
    while not worker.sent:  # SIGUSR1, for its stacks, before SIGTERM
        stage.go(0.05)
    worker.counters.end()
    worker.begin(2)
    stage.go(60)
    assert [number for _, number in worker.sent] == [signal.SIGUSR1]
    assert stage.restarts() == 0


# -- boot failures and displacement


@pytest.mark.parametrize("role", ["worker", "dispatcher", "reaper"])
def test_a_boot_failure_at_the_start_ends_it_at_once(make_stage: MakeStage, role: str) -> None:
    stage = make_stage(workers=1)
    stage.on_spawn = lambda child: (
        stage.after(0.1, lambda: child.die(ExitStatus.BOOT_FAILED)) if child.role == role else None
    )
    began = stage.now
    with pytest.raises(BootFailure, match=f"a {role} could not begin"):
        stage.end()
    assert stage.now - began < 1
    assert [child.role for child in stage.children] == ["worker", "dispatcher", "reaper"], "none was started again"
    assert stage.restarts() == 0
    assert stage.told == []


def test_a_boot_failure_later_takes_its_turns_and_leaves_the_others_alone(stage: Stage) -> None:
    stage.on_spawn = lambda child: stage.after(0.1, lambda: child.die(ExitStatus.BOOT_FAILED))
    first, other = stage.of("worker")
    first.die(-9)
    stage.go(10)
    assert not stage.leaving
    if len(stage.of("worker")) > 1:
        stage.go(0.2)  # the last one had yet to fail, and the next is seconds away
    assert stage.of("worker") == [other]
    assert 8 <= stage.restarts(role="worker") <= 11, "as the waits are drawn from their upper halves"


def test_a_task_that_exits_like_a_boot_failure_is_a_death(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.on_spawn = lambda child: setattr(child, "boots", child.role != "reaper")
    stage.go(1)
    worker = stage.of("worker")[0]
    worker.begin(1)
    worker.die(ExitStatus.BOOT_FAILED)
    stage.go(1)
    assert not stage.leaving
    assert stage.restarts(role="worker", cause="exit") == 1


@pytest.mark.parametrize("role", ["worker", "dispatcher", "reaper"])
def test_another_strategy_ends_it_and_starts_nothing(stage: Stage, role: str) -> None:
    stage.of(role)[0].leave(ExitStatus.DISPLACED)
    started = len(stage.children)
    with pytest.raises(BootFailure, match=r"another strategy owns the namespace now"):
        stage.end()
    assert len(stage.children) == started
    assert stage.restarts() == 0


@pytest.mark.parametrize("code", [ExitStatus.DISPLACED, ExitStatus.RECYCLED])
@pytest.mark.parametrize("draining", [False, True])
def test_a_task_cannot_pass_its_exit_status_off_as_ours(stage: Stage, code: int, draining: bool) -> None:
    worker = stage.of("worker")[0]
    worker.begin(1)
    if draining:
        stage.send(signal.SIGHUP)
        stage.go(1)
        assert worker.signals() == [(0, "SIGTERM")]
    worker.die(code)
    stage.go(1)
    assert not stage.leaving
    assert stage.restarts(role="worker", cause="exit") == (not draining)
    assert stage.recovery.of(worker)[1] is not draining


# -- hung


def _hang(child: FakeChild, how: str) -> None:
    if how == "hard timeout":
        child.begin(5, hard_timeout=2.0)
    elif how == "silent":
        child.begin(5)
        child.beats = False
    else:
        child.turns = False
    child.obeys.pop(signal.SIGTERM, None)


@pytest.mark.parametrize(
    ("how", "after", "blame", "why"),
    [
        ("hard timeout", 2.0, True, "ran past its hard timeout"),
        ("silent", 5.0, True, "no sign of life for"),
        ("stands still", 30.0, False, "loop stood still for"),
    ],
)
def test_what_hangs_is_looked_into_then_asked_then_killed(
    stage: Stage, told: pytest.LogCaptureFixture, how: str, after: float, blame: bool, why: str
) -> None:
    worker = stage.of("worker")[0]
    _hang(worker, how)
    began = stage.now
    stage.go(after - 0.01)
    assert worker.sent == []
    worker.stack = "main thread: spin (app.py:7)"
    stage.go(5)
    assert worker.signals() == [(0, "SIGUSR1"), (0.2, "SIGTERM"), (1.2, "SIGKILL")]
    assert began + after <= worker.sent[0][0] <= began + after + 1.01, "within a look"
    assert stage.restarts() == stage.restarts(role="worker", cause="hung") == 1
    how_it_ended, to_blame = stage.recovery.of(worker)
    assert why in how_it_ended
    assert to_blame is blame
    assert len(stage.of("worker")) == 2
    assert f"stacks of worker {worker.pid}: main thread: spin (app.py:7)" in told.text
    assert not any(child.sent for child in stage.children if child is not worker)


def test_a_hard_timeout_is_kept_to_the_moment(stage: Stage) -> None:
    worker = stage.of("worker")[0]
    worker.begin(1, hard_timeout=1.2345)
    began = stage.now
    stage.go(3)
    assert worker.sent[0][0] == pytest.approx(began + 1.2345)


@pytest.mark.parametrize("lease", [0.1, 1.0, 2.0, 10.0, 60.0])
def test_what_is_silent_is_gone_before_its_lease_is(make_stage: MakeStage, lease: float) -> None:
    stage = make_stage(lease=lease)
    stage.ready()
    worker = stage.of("worker")[0]
    _hang(worker, "silent")
    began = stage.now
    stage.go(lease * 2)
    assert lease / 2 < worker.ended_at - began < lease


def test_what_ends_when_asked_is_not_killed(stage: Stage) -> None:
    dispatcher = stage.of("dispatcher")[0]
    dispatcher.turns = False
    stage.go(40)
    assert dispatcher.signals() == [(0, "SIGUSR1"), (0.2, "SIGTERM")]
    assert stage.restarts() == stage.restarts(role="dispatcher", cause="hung") == 1


def test_a_task_may_take_its_time_as_long_as_it_lets_others_run(stage: Stage) -> None:
    worker = stage.of("worker")[0]
    worker.begin(1)
    stage.go(3600)
    assert worker.alive
    assert worker.sent == []


def test_without_a_hang_timeout_only_hard_timeouts_count(make_stage: MakeStage) -> None:
    stage = make_stage(hang_timeout=0, workers=3)
    stage.ready()
    overdue, silent, still = stage.of("worker")
    _hang(overdue, "hard timeout")
    _hang(silent, "silent")
    _hang(still, "stands still")
    stage.go(600)
    assert [child.alive for child in (overdue, silent, still)] == [False, True, True]


def test_what_never_begins_its_work_is_hung(stage: Stage) -> None:
    stage.on_spawn = lambda child: setattr(child, "boots", False)
    stage.of("worker")[0].die(-9)
    stage.go(119)
    slow = stage.children[-1]
    assert slow.sent == []
    stage.go(10)
    assert slow.signals()[0] == (0, "SIGUSR1")
    assert stage.restarts(role="worker", cause="hung") == 1


def test_hangs_that_no_task_is_to_blame_for_count_against_the_limit(make_stage: MakeStage) -> None:
    stage = make_stage(workers=1, max_restarts=2, restart_window=600)
    stage.on_spawn = lambda child: setattr(child, "turns", child.role != "dispatcher")
    stage.ready()
    for _ in range(3):
        stage.of("dispatcher")[0].counters.turn()
        stage.go(40)
    with pytest.raises(RestartLimitExceeded, match=r"dispatcher .* was hung: its loop stood still"):
        stage.end()


def test_a_child_that_ignores_even_sigkill_does_not_make_the_loop_spin(stage: Stage) -> None:
    worker = stage.of("worker")[0]
    _hang(worker, "hard timeout")
    worker.obeys.clear()
    stage.waits.clear()
    stage.go(100)
    assert worker.signals() == [(0, "SIGUSR1"), (0.2, "SIGTERM"), (1.2, "SIGKILL")]
    assert len(stage.waits) < 110


@pytest.mark.parametrize("how", ["hard timeout", "silent", "stands still"])
def test_a_host_that_slept_is_nobodys_fault(stage: Stage, how: str) -> None:
    """The clock jumps for all at once; whoever goes on then is in order."""
    worker = stage.of("worker")[0]
    if how != "stands still":
        worker.begin(1, hard_timeout=20.0 if how == "hard timeout" else None)
    stage.go(1)
    stage.now += 3600
    stage.supervisor.turn()  # before any child had the time to give a sign of life
    stage.go(3)
    worker.counters.end()
    stage.go(100)
    assert not any(child.sent for child in stage.children)
    assert stage.restarts() == 0


@pytest.mark.parametrize("how", ["hard timeout", "silent", "stands still"])
def test_what_does_not_go_on_after_the_host_slept_is_hung_all_the_same(stage: Stage, how: str) -> None:
    worker = stage.of("worker")[0]
    _hang(worker, how)
    stage.now += 3600
    stage.go(32)
    assert worker.signals()[0][1] == "SIGUSR1"
    assert not any(child.sent for child in stage.children if child is not worker)


# -- USR1


def test_usr1_asks_all_for_their_stacks(stage: Stage, told: pytest.LogCaptureFixture) -> None:
    for child in stage.children:
        child.stack = "main thread: work"
    stage.send(signal.SIGUSR1)
    stage.supervisor.turn()
    assert all(child.signals() == [(0, "SIGUSR1")] for child in stage.children)
    assert re.search(r"stacks of the supervisor: .*main thread: write \(", told.text)
    for child in stage.children:
        assert f"stacks of {child.role} {child.pid}: main thread: work" in told.text
    stage.go(100)
    assert stage.restarts() == 0
    assert told.text.count("stacks of") == 5, "once each"


# -- HUP


def _replacements(stage: Stage) -> list[tuple[FakeChild, FakeChild]]:
    return list(zip(stage.children[:4], stage.children[4:8], strict=True))


def test_hup_replaces_all_one_by_one_each_by_one_that_is_ready(stage: Stage, told: pytest.LogCaptureFixture) -> None:
    for child in stage.children:
        child.obeys[signal.SIGTERM] = 0.5  # to finish what it runs
    stage.send(signal.SIGHUP)
    stage.go(10)
    assert len(stage.children) == 8
    ended = 0.0
    for old, new in _replacements(stage):
        assert new.role == old.role
        assert new.started_at >= ended, "one by one"
        assert old.signals() == [(0, "SIGTERM")]
        assert old.sent[0][0] >= new.started_at + BOOT_S, "its successor was ready"
        assert new.alive
        assert new.sent == []
        ended = old.ended_at
    assert stage.told == ["ready", "reload", "reloaded"]
    assert stage.restarts() == stage.restarts(cause="recycled") == 4
    assert all(blame is False for _, _, blame in stage.recovery.given)
    assert "all children are replaced" in told.text


def test_a_reload_is_no_restart_that_counts(make_stage: MakeStage) -> None:
    stage = make_stage(max_restarts=0)
    stage.ready()
    for _ in range(5):
        stage.send(signal.SIGHUP)
        stage.go(10)
    assert not stage.leaving
    assert stage.restarts(cause="recycled") == 20


def test_code_that_does_not_boot_leaves_the_old_children(stage: Stage, told: pytest.LogCaptureFixture) -> None:
    old = list(stage.children)
    stage.on_spawn = lambda child: stage.after(0.1, lambda: child.die(ExitStatus.BOOT_FAILED))
    stage.send(signal.SIGHUP)
    stage.go(60)
    assert all(child.alive and not child.sent for child in old)
    assert len(stage.children) == 5, "it is tried once"
    assert stage.told == ["ready", "reload", "reloaded"]
    assert stage.restarts() == 0
    assert "fix the cause and send SIGHUP again" in told.text
    stage.on_spawn = lambda child: None
    stage.send(signal.SIGHUP)
    stage.go(10)
    assert not any(child.alive for child in old)
    assert len(stage.of("worker")) == 2


def test_a_successor_that_hangs_before_it_is_ready_ends_the_reload(stage: Stage) -> None:
    old = list(stage.children)
    stage.on_spawn = lambda child: setattr(child, "boots", False)
    stage.send(signal.SIGHUP)
    stage.go(300)
    assert all(child.alive and not child.sent for child in old)
    assert len(stage.children) == 5
    assert stage.told[-1] == "reloaded"


def test_no_room_for_a_successor_ends_the_reload(stage: Stage, told: pytest.LogCaptureFixture) -> None:
    stage.no_room = OSError(11, "Resource temporarily unavailable")
    stage.send(signal.SIGHUP)
    stage.go(10)
    assert all(child.alive and not child.sent for child in stage.children)
    assert stage.told[-1] == "reloaded"
    assert "a new worker could not be started" in told.text


@pytest.mark.parametrize("moment", [0.1, BOOT_S + 0.1, 3.0])
def test_hup_during_hup_leaves_nobody_with_the_code_between(stage: Stage, moment: float) -> None:
    for child in stage.children:
        child.obeys[signal.SIGTERM] = 0.5
    stage.send(signal.SIGHUP)
    stage.go(moment)
    assert "reloaded" not in stage.told, "it is under way"
    stage.send(signal.SIGHUP)
    again = stage.now
    stage.go(20)
    living = [child for child in stage.children if child.alive]
    assert [len(stage.of(role)) for role in ("worker", "dispatcher", "reaper")] == [2, 1, 1]
    assert all(child.started_at >= again for child in living)
    assert stage.told[-1] == "reloaded"
    assert stage.told.count("reloaded") == 1


def test_a_reload_with_nobody_to_replace_is_over_at_once(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.ready()
    stage.no_room = OSError(11, "Resource temporarily unavailable")
    for child in stage.children:
        child.die(1)
    stage.go(1)
    stage.send(signal.SIGHUP)
    stage.go(0.01)
    assert stage.told[-2:] == ["reload", "reloaded"]


def test_an_old_one_that_dies_makes_way_at_once(stage: Stage) -> None:
    stage.send(signal.SIGHUP)
    stage.go(0.1)
    old = stage.of("worker")[0]
    old.die(-9)
    stage.go(10)
    assert len(stage.children) == 8, "the successor that was on its way is the one"
    assert stage.restarts(role="worker", cause="signal") == 1
    assert stage.restarts(role="worker", cause="recycled") == 1
    assert [len(stage.of(role)) for role in ("worker", "dispatcher", "reaper")] == [2, 1, 1]


def test_a_successor_that_dies_once_it_was_ready_is_started_again(stage: Stage) -> None:
    old = stage.of("worker")[0]
    old.obeys[signal.SIGTERM] = 3.0
    stage.send(signal.SIGHUP)
    stage.go(1)
    assert old.sent
    stage.children[-1].die(-9)
    stage.go(20)
    assert stage.restarts(role="worker", cause="signal") == 1
    assert [len(stage.of(role)) for role in ("worker", "dispatcher", "reaper")] == [2, 1, 1]
    assert stage.told[-1] == "reloaded"


def test_an_old_one_that_does_not_finish_is_killed_and_not_blamed(make_stage: MakeStage) -> None:
    stage = make_stage(drain_timeout=5.0)
    stage.ready()
    old = stage.of("worker")[0]
    old.begin(1)
    stage.send(signal.SIGHUP)
    stage.go(20)
    assert old.signals() == [(0, "SIGTERM"), (5.0, "SIGKILL")]
    assert stage.recovery.of(old)[1] is False
    assert stage.restarts() == stage.restarts(cause="recycled") == 4


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_task_keeps_its_hard_timeout_while_its_worker_drains(stage: Stage, number: signal.Signals) -> None:
    worker = stage.of("worker")[0]
    worker.begin(1, hard_timeout=3.0)
    begun = stage.now
    stage.send(number)
    stage.waits.clear()
    stage.go(20)
    assert not worker.alive
    assert worker.ended_at == pytest.approx(begun + 3.0 + 1.2, abs=0.01)
    how, blame = stage.recovery.of(worker)
    assert "hard timeout" in how
    assert blame


def test_one_on_its_way_out_with_nothing_to_do_has_until_the_end_of_its_time(make_stage: MakeStage) -> None:
    stage = make_stage(drain_timeout=60.0)
    stage.ready()
    old = stage.of("worker")[0]
    old.turns = False
    old.obeys.pop(signal.SIGTERM)
    stage.send(signal.SIGHUP)
    stage.go(70)
    assert old.signals() == [(0, "SIGTERM"), (60.0, "SIGKILL")]


# -- leaving


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_all_drain_and_it_ends(stage: Stage, number: signal.Signals) -> None:
    worker = stage.of("worker")[0]
    worker.obeys[signal.SIGTERM] = 12.0
    stage.send(number)
    began = stage.now
    stage.end()
    assert all(child.signals() == [(0, "SIGTERM")] for child in stage.children)
    assert stage.now - began == pytest.approx(12.0)
    assert len(stage.recovery.given) == len(stage.children) == 4
    assert all(blame is False for _, _, blame in stage.recovery.given)
    assert stage.leaving
    assert stage.restarts() == 0


def test_what_does_not_finish_in_time_is_killed_and_not_blamed(
    make_stage: MakeStage, told: pytest.LogCaptureFixture
) -> None:
    stage = make_stage(drain_timeout=7.0)
    stage.ready()
    worker = stage.of("worker")[0]
    worker.begin(1)
    stage.send(signal.SIGTERM)
    stage.end()
    assert worker.signals() == [(0, "SIGTERM"), (7.0, "SIGKILL")]
    assert stage.recovery.of(worker) == ("was told to stop", False)
    assert told.text.count("ended while it ran a task") == 1


def test_the_second_time_it_does_not_wait(stage: Stage) -> None:
    worker = stage.of("worker")[0]
    worker.begin(1)
    stage.send(signal.SIGTERM)
    stage.go(2)
    stage.send(signal.SIGTERM)
    began = stage.now
    stage.end()
    assert worker.signals() == [(0, "SIGTERM"), (2.0, "SIGKILL")]
    assert stage.now - began < 0.1
    assert stage.recovery.of(worker)[1] is False


def test_what_was_killed_for_that_is_not_blamed_however_long_it_takes(stage: Stage) -> None:
    worker = stage.of("worker")[0]
    worker.begin(1, hard_timeout=3.0)
    worker.obeys[signal.SIGKILL] = 4.0
    stage.send(signal.SIGTERM)
    stage.go(1)
    stage.send(signal.SIGTERM)
    stage.end()
    assert worker.signals() == [(0, "SIGTERM"), (1.0, "SIGKILL")]
    assert stage.recovery.of(worker) == ("was told to stop at once", False)


def test_both_at_once_do_not_wait_either(stage: Stage) -> None:
    stage.of("worker")[0].begin(1)
    stage.send(signal.SIGTERM)
    stage.send(signal.SIGINT)
    began = stage.now
    stage.end()
    assert stage.now - began < 0.1


def test_stopped_in_the_middle_of_a_reload_the_new_ones_go_too(stage: Stage) -> None:
    old = stage.of("worker")[0]
    old.begin(1)
    stage.send(signal.SIGHUP)
    stage.go(0.1)
    successor = stage.children[-1]
    assert successor.counters.state == "booting"
    stage.send(signal.SIGTERM)
    stage.after(3, lambda: old.leave(ExitStatus.STOPPED))
    began = stage.now
    stage.end()
    assert successor.signals() == [(0, "SIGTERM")]
    assert stage.now - began == pytest.approx(3.0)
    assert not any(child.alive for child in stage.children)
    assert len(stage.children) == 5


def test_hup_while_leaving_is_too_late(stage: Stage) -> None:
    stage.of("worker")[0].obeys[signal.SIGTERM] = 5.0
    stage.send(signal.SIGTERM)
    stage.go(1)
    stage.send(signal.SIGHUP)
    stage.end()
    assert len(stage.children) == 4
    assert stage.told == ["ready"]


def test_what_hangs_while_it_is_told_to_stop_is_ended_as_it_was_going_to_be(stage: Stage) -> None:
    worker = stage.of("worker")[0]
    _hang(worker, "hard timeout")
    stage.go(2.0)
    stage.send(signal.SIGTERM)
    stage.end()
    assert worker.signals() == [(0, "SIGUSR1"), (0.2, "SIGTERM"), (1.2, "SIGKILL")]
    assert stage.recovery.of(worker)[1] is True


def test_redis_away_at_the_end_is_waited_for_but_not_for_long(stage: Stage, told: pytest.LogCaptureFixture) -> None:
    stage.recovery.away = True
    stage.send(signal.SIGTERM)
    began = stage.now
    stage.end()
    assert stage.now - began == pytest.approx(SETTLE_S), "not for as long as tasks might have taken"
    assert "Redis is away: what the workers held is taken back when their leases run out" in told.text


def test_redis_back_in_time_takes_what_was_held(stage: Stage, told: pytest.LogCaptureFixture) -> None:
    stage.recovery.away = True
    stage.send(signal.SIGTERM)
    stage.after(2, lambda: setattr(stage.recovery, "away", False))
    began = stage.now
    stage.end()
    assert 2 <= stage.now - began <= 2.5
    assert "Redis is away" not in told.text


def test_what_sigkill_does_not_end_is_left_behind(make_stage: MakeStage) -> None:
    stage = make_stage(drain_timeout=3.3, lease=7)
    stage.ready()
    stuck, other = stage.of("worker")
    stuck.obeys.clear()
    stage.send(signal.SIGTERM)
    began = stage.now
    stage.end()
    assert stage.now - began == pytest.approx(3.3 + SETTLE_S)
    assert stuck.abandoned
    assert not stuck.closed
    assert other.closed
    assert not other.abandoned


def test_if_the_loop_itself_fails_nobody_is_waited_for(stage: Stage) -> None:
    """They are tied to its life; waited for, they would keep it from ending, and go on with nobody to look after."""
    stage.at_turns_end = [lambda: 1 / 0]
    with pytest.raises(ZeroDivisionError):
        stage.end()
    assert all(child.abandoned for child in stage.children)


def test_asking_over_and_over_does_not_put_the_end_off(make_stage: MakeStage) -> None:
    stage = make_stage(drain_timeout=3.0)
    stage.ready()
    stage.of("worker")[0].obeys.clear()
    stage.send(signal.SIGTERM)
    for second in range(1, 60):
        stage.after(second, lambda: stage.send(signal.SIGTERM))
    began = stage.now
    stage.end()
    assert stage.now - began <= 1 + SETTLE_S + 0.1


def test_the_reason_to_end_is_told_also_when_asked_to_stop_meanwhile(make_stage: MakeStage) -> None:
    stage = make_stage(workers=1, max_restarts=0)
    stage.ready()
    stage.of("dispatcher")[0].obeys[signal.SIGTERM] = 5.0
    stage.of("worker")[0].die(1)
    stage.go(1)
    assert stage.leaving
    stage.send(signal.SIGTERM)
    with pytest.raises(RestartLimitExceeded):
        stage.end()
