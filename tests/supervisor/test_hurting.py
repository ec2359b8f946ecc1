"""Tasks that harm the process they run in: one worker runs them in order, and goes on unharmed."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from support.engine import APPS, Engine
from support.engine_fixtures import application
from support.short import short_directory
from support.waiting import wait_until

from dueq.core.app.payload import encode_body
from dueq.core.app.task import Call, Handle
from dueq.core.errors import ConfigurationError
from dueq.core.namespace import Namespace
from dueq.core.schema.states import State

pytestmark = [pytest.mark.processes, pytest.mark.long]


@pytest.fixture
def hurting(engine: Engine) -> Iterator[ModuleType]:
    with application(engine, "hurting") as app:
        yield app


class Case:
    """One worker, and what it made of tasks."""

    def __init__(self, engine: Engine, hurting: ModuleType, *flags: str, **options: Any) -> None:
        self.engine, self.app = engine, hurting.app
        self.supervisor = engine.run("--workers", "1", *flags, target="hurting:app", **options)
        self.space = Namespace.open(hurting.app.settings)

    def run(self, task: Any, *args: Any, within: float = 20.0) -> str:
        """Run a task to its end; returns "done", or the reason of its dead letter."""
        return self.end(task.after(0)(*args), within)

    def end(self, handle: Handle, within: float = 20.0) -> str:
        wait_until(lambda: self._ended(handle.id), within, what=f"{handle.id} ends: {self.log()[-2000:]}")
        letters = self.space.store.dead("default", 0, 100)
        return next((letter.reason for letter in letters if letter.record.id == handle.id), "done")

    def _ended(self, task_id: str) -> bool:
        record = self.space.store.record(task_id)
        return record is None or record.state == State.DEAD

    def said(self) -> list[dict[str, Any]]:
        """What tasks wrote down."""
        path = Path(f"{self.engine.ledger}.said")
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def log(self) -> str:
        return self.engine.log.read_text()

    def worker(self) -> psutil.Process:
        [worker] = self.engine.children(self.supervisor, "worker")
        return worker

    def close(self) -> None:
        self.space.close()


@pytest.fixture
def case(engine: Engine, hurting: ModuleType) -> Iterator[Case]:
    case = Case(engine, hurting)
    yield case
    case.close()


def unharmed(case: Case, worker: psutil.Process) -> None:
    """The same worker is there as at the beginning, alone, and takes tasks."""
    assert case.run(importlib.import_module("hurting").plain) == "done"
    assert case.said()[-1]["pid"] == worker.pid
    assert case.engine.total(case.supervisor, "dueq_process_restarts_total") == 0
    assert case.engine.total(case.supervisor, "dueq_duplicates_total") == 0
    titled = [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"]]
    ours = {worker.pid, *(child.pid for child in worker.children(recursive=True))}
    workers = [each for each in titled if each.pid in ours and "dueq: worker" in " ".join(each.info["cmdline"])]
    assert [each.pid for each in workers] == [worker.pid]


@pytest.fixture
def temporary() -> Iterator[Path]:
    with short_directory() as mine:
        yield mine


def test_forks_are_not_workers_and_children_are_children(engine: Engine, hurting: ModuleType, temporary: Path) -> None:
    case = Case(engine, hurting, environment={"TMPDIR": str(temporary)})
    worker = case.worker()
    expected = {"exit": 3, "return": 0, "raise": 1, "base": 1, "sour": 1, "nested": 0, "thread": 0, "pty": 0}
    for how, status in expected.items():
        assert case.run(hurting.forks, how) == "done", how
        assert case.said()[-1]["status"] == status, how
    assert "hurting.Ends" in case.log()
    for how in ("exit", "return", "raise"):
        assert f"printed by a fork that ends by {how}" in case.log(), how
    assert case.run(hurting.pools, "fork", 5) == "done"
    for method in ("spawn", "forkserver"):
        assert case.run(hurting.pools, method, 1, within=30) == "done"
    began = time.monotonic()
    assert "TimeoutError" in case.run(hurting.pool_left_early, "fork")
    assert time.monotonic() - began < 20, "it did not wait for what was given up"
    assert case.run(hurting.terminated) == "done"
    assert case.said()[-1]["exitcode"] == -signal.SIGTERM
    assert case.run(hurting.preexec) == "done"
    assert case.said()[-1]["status"] == -signal.SIGTERM
    unharmed(case, worker)
    assert case.engine.stop(case.supervisor) == 0
    assert [*temporary.iterdir()] == [], "the fork server's directory goes with its worker"
    case.close()


def test_a_fork_has_nothing_of_the_workers(case: Case, hurting: ModuleType) -> None:
    assert case.run(hurting.looks_like) == "done"
    [found] = case.said()
    assert "worker" not in found["title"]
    assert found["handlers"] == {
        "SIGTERM": "default",
        "SIGINT": "interrupt",
        "SIGHUP": "default",
        "SIGUSR1": "default",
        "SIGALRM": "default",
    }
    assert found["wakeup"] == -1
    assert found["blocked"] == []
    assert found["sockets"] < found["of_worker"], "the worker's end is to be seen by Redis"
    unharmed(case, case.worker())


@pytest.mark.usefixtures("engine")
def test_what_cannot_work_is_refused_where_it_is_defined(hurting: ModuleType) -> None:
    for define in hurting.REFUSED.values():
        with pytest.raises(ConfigurationError):
            define()
    assert hurting.Dueq().task(hurting.square)(3) == 9, "without brackets"


def test_whatever_fights_back_when_it_fails_is_buried_and_kills_nobody(case: Case, hurting: ModuleType) -> None:
    worker = case.worker()
    reasons = {
        "sour": "Sour: (its text raised SystemExit)",
        "nameless": "Nameless",
        "spiked": "Spiked: spikes",
        "noted": "Noted",
    }
    for which, reason in reasons.items():
        before = len(case.said())
        assert case.run(hurting.hostile, which) == reason
        assert len(case.said()) == before + 2, "two attempts"
    assert case.run(hurting.broken_backoff) == "ValueError: x"
    assert "its backoff's delay(0) is nan" in case.log()
    for streams in (True, False):
        assert case.run(hurting.closes, streams) == "done"
        assert case.run(hurting.writes) == "done"
        assert case.said()[-1]["next"] > 2
        assert "still heard" in case.log()
        assert case.run(hurting.fails) == "ValueError: boom"
    assert case.log().count("ValueError: boom") >= 1
    unharmed(case, worker)


def test_what_did_not_run_is_not_done_and_is_not_tried_again(case: Case, hurting: ModuleType) -> None:
    worker = case.worker()
    for what in ("coroutine", "async generator", "generator", "awaitable"):
        reason = case.run(hurting.returns, what)
        assert reason.startswith("NothingRan: hurting.returns returned a"), reason
        assert what.replace("async", "asynchronous") in reason
    assert case.run(hurting.returns, "a value") == "done"
    for args, kwargs, got in (([1], {}, "int"), ([1, "x"], {"when": 3}, "int, str, when=int"), ([], {}, "")):
        body = encode_body("hurting.remind", args, kwargs, 1000)
        [handle] = hurting.app.schedule_many([Call("hurting.remind", "default", 0, True, body, f"wrong{len(got)}")])
        reason = case.end(handle)
        assert f"was made for remind(user_id, text, *, urgent=…), got ({got})" in reason, reason
    assert case.run(hurting.remind, 1, "x") == "done"
    assert case.engine.total(case.supervisor, "dueq_tasks_finished_total", outcome="retried") == 0
    # a TypeError of its own is a failure like others, and tried again
    hurting.remind.after(0)(1, "inside")
    wait_until(lambda: case.engine.total(case.supervisor, "dueq_tasks_finished_total", outcome="retried") == 1, 20)
    unharmed(case, worker)


def test_signals_are_as_they_were_after_each_task(case: Case, hurting: ModuleType) -> None:
    worker = case.worker()
    assert case.run(hurting.ruins_the_signals) == "done"
    assert case.run(hurting.sleeps_past_it) == "done"
    assert case.said()[-1]["status"] == 7
    assert "TaskTimeout" in case.run(hurting.times_out)
    for number, status in ((signal.SIGINT, -2), (signal.SIGHUP, -1), (signal.SIGTERM, -15)):
        assert case.run(hurting.programs, int(number)) == "done"
        assert case.said()[-1]["status"] == status
    worker.send_signal(signal.SIGINT)
    worker.send_signal(signal.SIGHUP)
    case.supervisor.send_signal(signal.SIGUSR1)
    wait_until(lambda: f"stacks of worker {worker.pid}" in case.log(), 20)
    assert case.run(hurting.takes_the_signals) == "done"
    unharmed(case, worker)
    began = time.monotonic()
    assert case.engine.stop(case.supervisor) == 0
    assert time.monotonic() - began < 20, "it has heard SIGTERM, and not been killed after 30 s"


def test_a_task_that_takes_sigterm_for_its_own_is_the_last(case: Case, hurting: ModuleType) -> None:
    handles = [hurting.swallows_sigterm.after(0)() for _ in range(3)]
    wait_until(case.said, 20)
    assert case.engine.stop(case.supervisor) == 0
    assert len(case.said()) == 1
    assert sum(handle.cancel() for handle in handles) == 2


def test_what_dueq_was_started_ignoring_is_ignored_by_the_programs_of_tasks(
    engine: Engine, hurting: ModuleType
) -> None:
    ignoring = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh")  # as nohup does
    case = Case(engine, hurting, under=ignoring)
    assert case.run(hurting.programs, int(signal.SIGHUP)) == "done"
    assert case.said()[-1]["status"] is None
    assert case.run(hurting.programs, int(signal.SIGINT)) == "done"
    assert case.said()[-1]["status"] == -signal.SIGINT
    case.close()


def test_threads_know_their_task_and_no_other(case: Case, hurting: ModuleType) -> None:
    handle = hurting.asks_in_a_thread.after(0)()
    assert case.end(handle) == "done"
    assert case.said()[-1]["said"] == handle.id
    assert case.run(hurting.starts_one_that_asks_later) == "done"
    assert case.run(hurting.lets_it_ask) == "done"
    assert "call dueq.current() in the task, and pass on" in case.said()[-1]["said"]
    unharmed(case, case.worker())


@pytest.mark.parametrize("how", ["recycled", "stopped"])
def test_what_tasks_leave_does_not_hold_up_the_end_of_their_worker(
    engine: Engine, hurting: ModuleType, how: str
) -> None:
    tasks = 4
    limit = ("--max-tasks-per-worker", str(tasks)) if how == "recycled" else ()
    case = Case(engine, hurting, *limit)
    worker = case.worker()
    assert case.run(hurting.left_behind, True) == "done"
    assert case.run(hurting.left_behind, False) == "done"
    assert case.run(hurting.leaves_a_thread) == "done"
    daemon, other = (psutil.Process(each["child"]) for each in case.said())
    try:
        began = time.monotonic()
        if how == "recycled":
            assert case.run(hurting.plain) == "done"
            worker.wait(20)
            took = time.monotonic() - began
            wait_until(lambda: engine.total(case.supervisor, "dueq_process_restarts_total", cause="recycled") == 1, 20)
            assert engine.total(case.supervisor, "dueq_process_restarts_total") == 1
        else:
            assert engine.stop(case.supervisor) == 0
            took = time.monotonic() - began
        # What the end itself may take, a second, is held by test_leaving.py; here a busy machine adds to it.
        assert took < 10, (
            "far below the 30 s that the end of an engine may take, and a worker's until it counts as hung"
        )
        print(f"{how}: gone after {took:.2f} s")
        daemon.wait(10)  # it went to whoever takes in orphans, so it may be a zombie for a moment
    except psutil.TimeoutExpired:
        assert daemon.status() == psutil.STATUS_ZOMBIE
    finally:
        assert other.is_running(), "Python does not end those; it would have waited"
        other.kill()
        case.close()
    assert "1 thread (lazy) is still at work: left behind" in case.log()
    assert "1 child process " in case.log()


def test_threads_that_end_soon_are_waited_for_and_atexit_functions_run(
    engine: Engine, hurting: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "leaver.py").write_text(
        "import atexit, os\n"
        "from hurting import app\n"
        "atexit.register(lambda: print(os.getpid(), file=open(os.environ['LEDGER'] + '.atexit', 'a')))\n"
    )
    environment = {"PYTHONPATH": str(APPS)}
    supervisor = engine.run("--workers", "1", target="leaver:app", apps=tmp_path, environment=environment)
    [worker] = engine.children(supervisor, "worker")
    handle = hurting.leaves_a_fast_thread.after(0)(0.2)
    wait_until(lambda: engine.total(supervisor, "dueq_tasks_finished_total", outcome="done") == 1, 20)
    assert engine.stop(supervisor) == 0
    assert Path(f"{engine.ledger}.thread").read_text() == handle.id
    assert str(worker.pid) in Path(f"{engine.ledger}.atexit").read_text().split()


def test_the_child_of_a_killed_worker_lives_on_as_in_plain_python(case: Case, hurting: ModuleType) -> None:
    hurting.busy_child.after(0)()
    wait_until(case.said, 20)
    child, worker = psutil.Process(case.said()[0]["child"]), case.worker()
    worker.kill()
    wait_until(lambda: case.engine.total(case.supervisor, "dueq_process_restarts_total", cause="signal") == 1, 20)
    assert child.is_running()
    assert child.ppid() != case.supervisor.pid
    child.terminate()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
    wait_until(lambda: len(case.said()) == 2, 20)  # the task runs again
    psutil.Process(case.said()[1]["child"]).terminate()


def test_ctrl_c_in_a_terminal_lets_tasks_and_their_programs_finish(engine: Engine, hurting: ModuleType) -> None:
    case = Case(engine, hurting, under=(sys.executable, str(Path(__file__).with_name("in_a_terminal.py"))))
    hurting.program_that_finishes.after(0)()
    wait_until(case.said, 20)
    [inside] = psutil.Process(case.supervisor.pid).children()
    [begun] = case.said()
    assert begun["group"] == case_worker(inside).pid == begun["session"]
    case.supervisor.send_signal(signal.SIGUSR1)  # the terminal types Ctrl-C
    assert case.supervisor.wait(20) == 0
    assert [each.get("status") for each in case.said()] == [None, 9]
    case.close()


def test_the_end_of_the_terminal_ends_no_task_and_no_program(engine: Engine, hurting: ModuleType) -> None:
    case = Case(engine, hurting, under=(sys.executable, str(Path(__file__).with_name("in_a_terminal.py"))))
    hurting.program_that_finishes.after(0)()
    wait_until(case.said, 20)
    [inside] = psutil.Process(case.supervisor.pid).children()
    case.supervisor.send_signal(signal.SIGUSR2)  # the terminal is closed: as for any daemon, SIGHUP means new processes
    wait_until(lambda: "replacing all children" in case.log(), 20)
    wait_until(lambda: len(case.said()) == 2, 20)
    assert case.said()[1]["status"] == 9
    assert case.run(hurting.plain) == "done"
    inside.terminate()
    assert case.supervisor.wait(20) == 0
    case.close()


def case_worker(supervisor: psutil.Process) -> psutil.Process:
    [worker] = [each for each in supervisor.children() if "dueq: worker" in " ".join(each.cmdline())]
    return worker


def test_nothing_needs_open_standard_descriptors(engine: Engine, hurting: ModuleType) -> None:
    for redirects in (">&-", "<&- 2>&-", "<&- >&- 2>&-"):
        case = Case(engine, hurting, under=("sh", "-c", f'exec "$@" {redirects}', "sh"))
        fds = [str(Path(f"/proc/{case.worker().pid}/fd/{fd}").readlink()) for fd in (0, 1, 2)]
        assert not [target for target in fds if "memfd" in target or "socket" in target], redirects
        assert case.run(hurting.plain) == "done", redirects
        assert engine.total(case.supervisor, "dueq_tasks_finished_total", outcome="done") == 1
        assert engine.stop(case.supervisor) == 0
        case.close()


def test_nor_does_any_other_command(engine: Engine) -> None:
    command = [sys.executable, "-m", "dueq", "status", "--redis-url", engine.url, "--json"]
    for redirects in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["sh", "-c", f'exec "$@" {redirects}', "sh", *command], capture_output=True, check=False)
        assert done.returncode == 0, (redirects, done.stderr)


def test_a_page_of_counters_that_is_written_over_costs_its_process_and_no_more(case: Case, hurting: ModuleType) -> None:
    supervisor, before = case.supervisor, case.worker()
    assert case.run(hurting.plain) == "done"
    with _page(supervisor.pid, before.pid).open("r+b") as page:
        page.write(b"printed by a task, right over all that it says\n" * 20)
    wait_until(lambda: case.engine.total(supervisor, "dueq_process_restarts_total", cause="hung") == 1, 15)
    wait_until(lambda: case.engine.total(supervisor, "dueq_processes", role="worker", state="ready") == 1, 15)
    assert case.run(hurting.plain) == "done"
    assert case.said()[-1]["pid"] != before.pid
    assert "something was written over its page of counters" in case.log()
    assert case.engine.stop(supervisor) == 0


def test_a_page_that_is_written_over_does_not_make_a_run_uncounted(case: Case, hurting: ModuleType) -> None:
    """It says nothing any more of what had begun."""
    worker = case.worker()
    handle = hurting.naps_unless_it_ran_before.after(0)()
    wait_until(lambda: (record := case.space.store.record(handle.id)) is not None and record.state == State.LEASED, 10)
    time.sleep(0.3)  # it runs
    with _page(case.supervisor.pid, worker.pid).open("r+b") as page:
        page.write(bytes(600))
    assert case.end(handle) == "done"
    assert case.engine.total(case.supervisor, "dueq_duplicates_total", cause="worker_lost") == 1
    assert case.engine.stop(case.supervisor) == 0


def _page(supervisor: int, worker: int) -> Path:
    """The worker's page, as the supervisor has it open."""
    maps = Path(f"/proc/{worker}/maps").read_text().splitlines()
    [inode] = {int(line.split()[4]) for line in maps if "dueq-counters" in line}
    return next(fd for fd in Path(f"/proc/{supervisor}/fd").iterdir() if fd.exists() and fd.stat().st_ino == inode)
