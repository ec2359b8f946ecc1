"""Supervisors and their children: real processes, real signals, a real server."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from types import ModuleType

import psutil
import pytest
from support.engine import Engine
from support.waiting import wait_until

pytestmark = pytest.mark.processes


def test_tasks_run_on_time_once_and_never_early(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "2")
    handles = sample.app.schedule_many([sample.nap.call_after(0.2 + n * 0.005)(0.001) for n in range(100)])
    wait_until(lambda: engine.ended() == 100, 15)
    for handle in handles:
        [start] = engine.runs()[handle.id].starts
        assert int(start[0]) >= int(start[1]), "early"
    assert engine.total(supervisor, "dueq_tasks_finished_total", outcome="done") == 100
    assert engine.total(supervisor, "dueq_early_starts_total") == 0
    assert engine.stop(supervisor) == 0


def test_a_task_may_schedule_tasks(engine: Engine, sample: ModuleType) -> None:
    engine.run("--workers", "2")
    sample.chain.after(0)(10)
    wait_until(lambda: engine.ended() == 11, 15)


def test_a_task_that_fails_for_good_becomes_a_dead_letter(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "1")
    handle = sample.fail.after(0)()
    wait_until(lambda: engine.total(supervisor, "dueq_tasks_finished_total", outcome="dead") == 1, 15)
    assert len(engine.runs()[handle.id].starts) == 2
    assert engine.total(supervisor, "dueq_deliveries_total", reason="retry") == 1
    assert engine.total(supervisor, "dueq_tasks", state="dead") == 1


@pytest.mark.in_turn("how")
@pytest.mark.parametrize("how", ["cancelled", "interrupt", "unprintable", "surrogate", "huge"])
def test_whatever_a_task_raises_is_a_failure_and_not_a_crash(engine: Engine, sample: ModuleType, how: str) -> None:
    supervisor = engine.run("--workers", "1")
    handle = sample.odd.after(0)(how)
    wait_until(lambda: engine.total(supervisor, "dueq_tasks_finished_total", outcome="dead") == 1, 10)
    assert len(engine.runs()[handle.id].starts) == 1
    assert engine.total(supervisor, "dueq_process_restarts_total") == 0


def test_a_task_that_ends_its_worker_quietly_is_counted_and_buried(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "1")
    handle = sample.odd.after(0)("exit")
    wait_until(lambda: engine.total(supervisor, "dueq_tasks", state="dead") == 1, 20)
    assert len(engine.runs()[handle.id].starts) == 3
    assert engine.total(supervisor, "dueq_duplicates_total", cause="worker_lost") == 2


@pytest.mark.long
def test_prefetched_tasks_do_not_pile_up_behind_a_long_one(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "2", "--prefetch", "20")
    sample.app.schedule_many([sample.nap.call_after(0)(0.12) for _ in range(60)])
    most = 0.0
    while engine.ended() < 60:
        most = max(most, engine.total(supervisor, "dueq_tasks", state="leased"))
        time.sleep(0.02)
    assert all(len(run.starts) == 1 for run in engine.runs().values())
    assert most <= 2
    pids = [run.starts[0][-1] for run in engine.runs().values()]
    assert min(pids.count(pid) for pid in set(pids)) >= 15, "one worker sat on what the other could have run"


def test_a_backlog_of_one_queue_does_not_hold_up_another(engine: Engine, sample: ModuleType) -> None:
    engine.run("--workers", "1")
    sample.app.schedule_many([sample.nap.call_after(0)(0.02) for _ in range(300)])
    wait_until(lambda: engine.ended() >= 1, 10)
    handle = sample.aside.after(0)()
    wait_until(lambda: engine.runs()[handle.id].ends, 3)
    assert engine.ended() < 300


def test_a_killed_workers_task_runs_again_within_a_second(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "2")
    handle = sample.nap.after(0)(1.5)
    wait_until(lambda: engine.runs()[handle.id].starts, 10)
    os.kill(int(engine.runs()[handle.id].starts[0][-1]), signal.SIGKILL)
    killed = time.time_ns() // 1000
    wait_until(lambda: engine.ended() == 1, 15)
    first, second = engine.runs()[handle.id].starts
    assert int(second[0]) - killed < 1_000_000
    assert int(second[2]) > int(first[2]), "the token must rise"
    assert engine.total(supervisor, "dueq_duplicates_total", cause="worker_lost") == 1
    assert engine.total(supervisor, "dueq_duplicates_total") == 1
    assert engine.total(supervisor, "dueq_process_restarts_total", role="worker", cause="signal") == 1


def test_no_child_outlives_a_killed_supervisor_and_a_new_one_finishes(engine: Engine, sample: ModuleType) -> None:
    first = engine.run("--workers", "3", "--lease", "1")
    children = psutil.Process(first.pid).children(recursive=True)
    assert len(children) >= 5
    sample.app.schedule_many([sample.nap.call_after(n * 0.05)(0.2) for n in range(40)])
    wait_until(lambda: engine.runs(), 10)
    first.kill()
    first.wait()
    _, alive = psutil.wait_procs(children, timeout=2)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    engine.run("--workers", "3", "--lease", "1")
    wait_until(lambda: engine.ended() == 40, 20)


def test_sigterm_lets_running_tasks_finish_and_keeps_the_rest(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "1", "--prefetch", "4")
    sample.app.schedule_many([sample.nap.call_after(0)(0.5) for _ in range(4)])
    wait_until(lambda: engine.runs(), 10)
    assert engine.stop(supervisor) == 0
    assert engine.ended() == len(engine.runs()) == 1
    second = engine.run("--workers", "4")
    wait_until(lambda: engine.ended() == 4, 10)
    assert all(len(run.starts) == 1 for run in engine.runs().values())
    assert engine.total(second, "dueq_duplicates_total") == 0


def test_a_second_sigterm_stops_at_once_and_what_ran_runs_again(engine: Engine, sample: ModuleType) -> None:
    supervisor = engine.run("--workers", "1")
    handle = sample.nap.after(0)(30.0)
    wait_until(lambda: engine.runs(), 10)
    supervisor.send_signal(signal.SIGTERM)
    wait_until(lambda: engine.total(supervisor, "dueq_processes", state="draining") > 0, 5)
    supervisor.send_signal(signal.SIGTERM)
    began = time.monotonic()
    supervisor.wait(10)
    assert time.monotonic() - began < 5
    second = engine.run("--workers", "1")
    wait_until(lambda: len(engine.runs()[handle.id].starts) == 2, 10)
    assert engine.total(second, "dueq_duplicates_total", cause="worker_lost") == 1


def _started(engine: Engine, task_id: str, times: int) -> bool:
    return len(engine.runs()[task_id].starts) == times


def test_a_task_cut_off_by_a_stop_is_not_to_blame(engine: Engine, sample: ModuleType) -> None:
    handle = sample.nap.after(0)(30.0)
    for attempt in range(1, 4):
        supervisor = engine.run("--workers", "1", "--drain-timeout", "0", "--max-losses", "1")
        wait_until(partial(_started, engine, handle.id, attempt), 10)
        assert engine.stop(supervisor) == 0
    assert sample.app.cancel(handle.id), "it is pending, not dead"


def test_a_crash_loop_stops_with_the_reason(engine: Engine) -> None:
    supervisor = engine.run("--workers", "1", "--max-restarts", "2")
    for _ in range(3):
        wait_until(lambda: engine.children(supervisor, "worker") or supervisor.poll() is not None, 10)
        for child in engine.children(supervisor, "worker"):
            child.kill()
            child.wait(5)
    assert supervisor.wait(20) == 4
    assert "died more than 2 times" in engine.log.read_text().splitlines()[-1]


def test_an_application_that_does_not_import_is_refused_with_the_reason(engine: Engine) -> None:
    supervisor = engine.run(target="absent:app", wait=False)
    assert supervisor.wait(20) == 2
    assert "no module 'absent'" in engine.log.read_text()


def test_redis_restarting_needs_no_hand(engine: Engine, sample: ModuleType) -> None:
    engine.run("--workers", "2")
    sample.app.schedule_many([sample.nap.call_after(1 + n * 0.05)(0.01) for n in range(60)])
    pid = engine.server.pid()
    assert pid is not None
    time.sleep(1.5)  # so that it dies in the middle of the work
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    engine.server.start()
    wait_until(lambda: engine.ended() == 60, 20)
    assert all(len(run.starts) == 1 for run in engine.runs().values())


@pytest.mark.long
@pytest.mark.timeout(300)
def test_metrics_stay_right_over_200_kills(engine: Engine, sample: ModuleType) -> None:
    """Counters equal the ledger, at most one task per kill apart.

    A start is counted before the task's own first line, so a kill in between leaves that counter ahead of the ledger,
    never behind. The end is counted once Redis has accepted it, so a kill in between leaves that one behind.
    """
    kills, tasks = 200, 3000
    supervisor = engine.run("--workers", "6", "--max-restarts", "1000", "--max-losses", "1000")
    sample.app.schedule_many([sample.nap.call_after(0)(0.1) for _ in range(tasks)])
    chance = random.Random(1)
    seen = 0.0
    for _ in range(kills):
        wait_until(lambda: len(engine.children(supervisor, "worker")) >= 5, 20)
        max(engine.children(supervisor, "worker"), key=lambda child: -child.create_time()).kill()
        time.sleep(chance.uniform(0.25, 0.35))
        now = engine.total(supervisor, "dueq_deliveries_total")
        assert now >= seen, "a counter fell"
        seen = now
    wait_until(lambda: engine.ended() == tasks, 60)
    wait_until(lambda: engine.total(supervisor, "dueq_tasks", state="leased") == 0, 5)
    done = engine.total(supervisor, "dueq_tasks_finished_total", outcome="done")
    assert tasks - kills <= done <= tasks
    runs = engine.runs()
    starts = sum(len(run.starts) for run in runs.values())
    counted = engine.total(supervisor, "dueq_deliveries_total")
    again = engine.total(supervisor, "dueq_duplicates_total", cause="worker_lost")
    print(
        f"{kills} kills: {tasks} tasks, {starts} starts in the ledger, {counted:.0f} counted, {done:.0f} counted done"
    )
    assert starts <= counted <= starts + kills
    assert starts - tasks <= again <= starts - tasks + kills
    assert engine.total(supervisor, "dueq_duplicates_total") == again
    assert engine.total(supervisor, "dueq_early_starts_total") == 0
    assert engine.total(supervisor, "dueq_process_restarts_total", role="worker", cause="signal") == kills
