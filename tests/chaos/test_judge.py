"""The judge of chaos runs: what it accepts, and what it rejects."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from redis.exceptions import ResponseError

from dueq.admin.housekeeping import purge
from dueq.chaos import report
from dueq.chaos.runner import play as play_run
from dueq.chaos.runner import wanted
from dueq.chaos.scenarios import servers, surroundings
from dueq.chaos.scenarios.base import LOST_OWNER, Scenario
from dueq.chaos.stage import Size, Stage
from dueq.core.clock import now_us
from dueq.core.errors import NotReplicated
from dueq.core.namespace import Namespace
from dueq.harness.account import Planned
from dueq.harness.history import Book
from dueq.harness.ledger import Entry, Failure, Finish, Ledger, Start

pytestmark = [pytest.mark.processes, pytest.mark.long]


def started(task_id: str, at_us: int, token: int, cause: str = "", pid: int = 1) -> Start:
    return Start(task_id, at_us, 0, token, 1, pid, cause)


def book(*entries: Entry) -> Book:
    made = Book({"a": Planned(1000, 10), "b": Planned(2000, 10)})
    made.add(entries)
    return made


def test_extra_starts_are_told_by_cause() -> None:
    found = book(
        started("a", 1001, 1), started("a", 1101, 2, "worker_lost"), started("a", 1201, 3, "lease_expired")
    ).duplicates()
    assert (found["worker_lost"], found["lease_expired"], found["unexplained"]) == (1, 1, 0)


def test_an_extra_start_without_a_cause_is_unexplained() -> None:
    assert book(started("a", 1001, 1), started("a", 1101, 2)).duplicates()["unexplained"] == 1


def test_the_same_claim_twice_is_unexplained_whatever_it_says() -> None:
    assert book(started("a", 1001, 1), started("a", 1101, 1, "worker_lost")).duplicates()["unexplained"] == 1


def test_a_token_is_of_one_claim_whatever_the_tasks() -> None:
    assert book(started("a", 1001, 1), started("b", 2001, 2)).tokens_given_twice() == []
    assert book(started("a", 1001, 7), started("b", 2001, 7)).tokens_given_twice() == [7]


def test_a_first_start_that_was_killed_before_its_line_is_no_duplicate() -> None:
    assert not any(book(started("a", 1001, 2, "worker_lost")).duplicates().values())


def test_lines_in_the_wrong_order_are_explained_all_the_same() -> None:
    found = book(started("a", 1101, 2, "lease_expired"), started("a", 1001, 1)).duplicates()
    assert (found["lease_expired"], found["unexplained"]) == (1, 0)


def test_who_runs_what() -> None:
    ledger = book(started("a", 1001, 1, pid=7), started("b", 1001, 2, pid=8), Finish("a", 1005, 1, 7))
    assert ledger.running == {8: "b"}
    ledger.add([Failure("b", 1006, 2, 8)])
    assert ledger.running == {}
    assert ledger.raised["b"] == 1
    assert ledger.lost_ids() == ["b"]


@pytest.mark.parametrize(
    ("killed", "found"),
    [
        ([], ["a"]),
        ([("a", 1050)], []),
        ([("a", 1150)], ["a"]),  # killed after it had started again
        ([("b", 1050)], ["a"]),
    ],
)
def test_an_extra_start_is_of_a_kill(killed: list[tuple[str, int]], found: list[str]) -> None:
    ledger = book(started("a", 1101, 2, "worker_lost"), started("a", 1001, 1), started("b", 1001, 3))
    assert ledger.unaccounted(killed) == found


def test_a_kill_accounts_for_one_start() -> None:
    ledger = book(*(started("a", 1001 + 100 * number, number, "worker_lost") for number in range(3)))
    assert ledger.unaccounted([("a", 1050)]) == ["a"]
    assert ledger.unaccounted([("a", 1050), ("a", 1060)]) == []
    assert ledger.unaccounted([("a", 1050), ("a", 1250)]) == ["a"]


def test_recovery_is_measured_to_the_next_start() -> None:
    ledger = book(started("a", 1001, 1), started("a", 1500, 2, "worker_lost"), started("a", 1700, 3, "worker_lost"))
    assert ledger.restarted_after("a", 1200) == 300
    assert ledger.restarted_after("a", 1800) is None


def test_unplanned_tasks_are_kept_apart() -> None:
    ledger = book(started("poison", 5, 1))
    assert [entry.id for entry in ledger.apart] == ["poison"]
    assert ledger.early == 0


def test_points_tell_lateness_and_repeats() -> None:
    points = book(started("a", 1500, 1), started("a", 3000, 2, "worker_lost"), started("b", 1000, 3)).points(1000)
    assert [(point.at_s, point.late_ms, point.again) for point in points] == [
        (0.0, -1.0, False), (0.0005, 0.5, False), (0.002, 2.0, True),
    ]  # fmt: skip


def judged(directory: Path, play: Callable[[Stage], None], strategy: str = "lua", **facts: object) -> list[str]:
    """What the judge complains of after ``play`` on a real engine."""
    scenario = Scenario("test", "a fault", "an expectation", play, **facts)  # type: ignore[arg-type]
    with Stage("test", strategy, Size(10, 1.0, 1), directory, {}) as stage:
        play(stage)
        report.judge(scenario, stage)
        return [check.what for check in stage.checks if not check.ok]


def quietly(stage: Stage) -> None:
    stage.host(workers=1)
    stage.begin_naps()


def test_nothing_to_complain_of(tmp_path: Path) -> None:
    def play(stage: Stage) -> None:
        quietly(stage)
        stage.finish()

    assert judged(tmp_path, play) == []


def test_a_lost_task_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dueq.chaos.stage._STALLED_S", 1.0)

    def play(stage: Stage) -> None:
        quietly(stage)
        space = Namespace.open(stage.settings)
        purge(space)
        space.close()
        stage.finish()

    assert judged(tmp_path, play) == ["lost"]
    assert judged(tmp_path / "again", play, loses=True) == []


def test_a_duplicate_without_a_cause_and_an_early_start_are_noticed(tmp_path: Path) -> None:
    def play(stage: Stage) -> None:
        quietly(stage)
        stage.finish()
        ledger = Ledger(stage.directory)
        ledger.start(started("t3", now_us() - 60_000_000, 10_000))
        ledger.close()
        stage.look()

    assert judged(tmp_path, play) == ["causes of duplicates", "early"]


@pytest.mark.parametrize("strategy", ["lua", "watch"])
def test_an_early_start_is_noticed_whoever_says_the_time(tmp_path: Path, strategy: str) -> None:
    def play(stage: Stage) -> None:
        quietly(stage)
        stage.finish()
        ledger = Ledger(stage.directory)
        ledger.start(started("t3", stage.plan["t3"].due_us - 1, 10_000, "worker_lost"))
        ledger.close()
        stage.look()

    complaints = judged(tmp_path / "in-step", play, strategy, causes=LOST_OWNER)
    assert complaints == ["early"]
    skewed = judged(tmp_path / "skewed", play, strategy, causes=LOST_OWNER, skews_clocks=True)
    assert skewed == ["early"]  # with scripts every strategy goes by Redis's clock


def test_a_kill_is_in_the_middle_of_a_task(tmp_path: Path) -> None:
    with Stage("test", "lua", Size(30, 1.0, 1), tmp_path, {}) as stage:
        host = stage.host(workers=2)
        stage.begin_naps(longest_s=0.1)
        stage.until(0.2)
        found = stage.stop_in_a_task(host, within=2.0)
        assert found is not None
        worker, task_id = found
        stage.until(stage.elapsed() + 0.5)  # longer than any task
        assert stage.book.running[worker.pid] == task_id
        assert stage.stop_in_a_task(host, set(stage.plan), within=0.1) is None
        stage.kill(worker, "worker")
        stage.finish()
        assert len(stage.book.by_task[task_id]) == 2


@pytest.mark.alone  # it has half a second to meet a worker with a task
def test_a_storm_of_few_tasks_kills_a_worker() -> None:
    [one] = wanted("storm", "lua", 20, 0.5, 1)
    report = play_run(one).report
    assert report["ok"], report["checks"]
    [killed] = [check["measured"] for check in report["checks"] if check["what"] == "workers killed meanwhile"]
    assert int(killed) >= 1


def test_an_error_of_redis_alone_is_no_clear_error() -> None:
    def fails() -> None:
        raise ResponseError("NOREPLICAS not enough")

    assert not servers._says(servers._error_of(fails, NotReplicated))
    assert not servers._says("")
    assert servers._says("no replica has it", "replica")


def test_a_host_with_another_clock_imports_what_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    stage = Mock(directory=tmp_path)
    stage.begin_naps.side_effect = TimeoutError
    with pytest.raises(TimeoutError):
        surroundings._clock(stage)
    for call in stage.host.call_args_list:
        first, *rest = call.kwargs["environment"]["PYTHONPATH"].split(os.pathsep)
        assert Path(first, "sitecustomize.py").exists()
        assert rest == ["/somewhere"]


def test_a_supervisor_that_gives_up_is_noticed(tmp_path: Path) -> None:
    def play(stage: Stage) -> None:
        host = stage.host("--max-restarts", 0, workers=1)
        stage.begin_naps()
        stage.until(0.2)
        stage.kill(host.children("dispatcher")[0], "dispatcher")
        stage.wait_for(lambda: not host.alive(), 10)
        stage.host(workers=1).wait_ready()
        stage.finish()

    assert judged(tmp_path, play) == ["supervisors that were not killed end with"]


def test_a_process_that_is_left_behind_is_noticed(tmp_path: Path) -> None:
    def play(stage: Stage) -> None:
        quietly(stage)
        stage.finish()
        import psutil

        me = psutil.Process()
        stage.hosts[0].seen[me.pid] = me

    began = time.monotonic()
    assert judged(tmp_path, play) == ["processes left behind"]
    assert time.monotonic() - began < 60
