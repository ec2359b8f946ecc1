"""What the ledger's entries mean for the account."""

from __future__ import annotations

from dueq.harness.account import Account, Planned
from dueq.harness.ledger import Finish, Start
from dueq.harness.stats import quantile, summary_ms

PLAN = {"a": Planned(100, 50), "b": Planned(200, 50), "c": Planned(300, 50)}


def start(task_id: str, at_us: int, token: int = 1) -> Start:
    return Start(task_id, at_us, 0, token, 1, 1)  # the due time that the task was told does not count


def finish(task_id: str, at_us: int) -> Finish:
    return Finish(task_id, at_us, 1, 1)


def test_all_is_well() -> None:
    account = Account(PLAN)
    account.add([start("a", 100), start("b", 230, 2), finish("a", 155)])
    assert (account.started, account.finished, account.lost) == (2, 1, 2)
    assert account.overdue(200) == 0
    assert account.overdue(300) == 1
    account.add([finish("b", 280), start("c", 310, 3), finish("c", 360)])
    assert (account.started, account.finished, account.lost, account.early) == (3, 3, 0, 0)
    assert (account.extra_starts, account.same_token, account.strangers) == (0, 0, 0)
    assert sorted(account.lateness_us()) == [0, 10, 30]
    assert account.last_finish_us() == 360


def test_started_but_never_finished_is_lost() -> None:
    account = Account(PLAN)
    account.add([start("a", 100), start("b", 200), finish("b", 250)])
    assert account.lost == 2
    assert account.lost_ids() == ["a", "c"]


def test_one_microsecond_early_is_early_and_every_early_start_counts() -> None:
    account = Account(PLAN)
    account.add([start("a", 99), start("a", 99, 2), start("b", 200)])
    assert account.early == 2
    assert min(account.lateness_us()) == -1


def test_starts_beyond_the_first_and_claims_that_ran_twice() -> None:
    account = Account(PLAN)
    account.add([start("a", 130, 1), start("a", 120, 2), start("a", 140, 2), start("x", 1)])
    assert (account.started, account.starts, account.extra_starts) == (1, 3, 2)
    assert account.same_token == 1
    assert account.strangers == 1
    assert account.lateness_us() == [20]  # the earliest, not the first line
    account.add([finish("a", 150), finish("a", 170)])
    assert account.finished == 1
    assert list(account.finishes()) == ["a", "a"]


def test_times_are_moved_to_the_clock_of_redis() -> None:
    account = Account(PLAN, offset_us=-10)
    account.add([start("a", 105), finish("a", 200)])
    assert account.early == 1
    assert account.last_finish_us() == 190


def test_jobs_that_found_a_free_worker() -> None:
    account = Account({"a": Planned(0, 100), "b": Planned(10, 10), "c": Planned(20, 10), "d": Planned(120, 10)})
    account.add([start("a", 1), finish("a", 101), start("b", 12), finish("b", 22), start("c", 102), finish("c", 112)])
    account.add([start("d", 124), finish("d", 134)])
    assert account.lateness_with_free_worker_us(1) == [1, 4]  # b and c came while a ran
    assert account.lateness_with_free_worker_us(2) == [1, 2, 4]  # c came while a and b ran
    assert account.lateness_with_free_worker_us(3) == [1, 2, 82, 4]


def test_unfinished_job_keeps_its_worker() -> None:
    account = Account({"a": Planned(0, 1), "b": Planned(500, 1)})
    account.add([start("a", 0), start("b", 510)])
    assert account.lateness_with_free_worker_us(1) == [0]


def test_quiet_since() -> None:
    account = Account(PLAN)
    assert account.quiet_since_us() == 100  # the first should have started
    account.add([start("a", 110)])
    assert account.quiet_since_us() == 200  # a should end at 160, b should start at 200
    account.add([start("b", 220), start("c", 310)])
    assert account.quiet_since_us() == 360


def test_percentiles_are_values_that_occurred() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.51) == 3
    assert quantile([], 0.5) is None
    assert summary_ms(range(1000, 101_000, 1000)) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert summary_ms([]) == {"p50": None, "p95": None, "p99": None, "max": None}
