"""``dueq status``, ``show``, ``cancel``, ``dead`` and ``purge`` on tasks in every state."""

from __future__ import annotations

from typing import Any

from support.world import World

from dueq.core.schema.record import Record
from dueq.core.store.values import NewTask, Outcome

from .conftest import Cli

HOUR = 3_600_000_000


def bury(world: World, *ids: str, queue: str = "q", reason: str = "ValueError: no") -> None:
    world.ready(*ids, queue=queue)
    for _ in ids:
        claim: Record = world.started("w1", queue)
        assert world.settle("w1", Outcome(claim, "dead", reason=reason)) == "done"


def test_status_of_nothing(cli: Cli) -> None:
    answer = cli("status")
    assert answer.code == 0
    assert "no task was ever scheduled here" in answer.out
    assert cli("status", "--json").json["queues"] == []


def test_status(cli: Cli, world: World) -> None:
    world.schedule("later", queue="mail", delay_us=HOUR)
    bury(world, "d1")
    world.ready("a", "b")
    world.started("w7")
    found = cli("status", "--json").json
    assert found["namespace"] == world.settings.namespace
    assert found["strategy"] == "lua"
    assert found["server"].startswith(("Redis ", "Valkey "))
    mail, q = found["queues"]
    assert (mail["queue"], mail["scheduled"], mail["ready"], mail["oldest_overdue_s"]) == ("mail", 1, 0, 0)
    assert mail["next_due_at"] is not None
    assert (q["queue"], q["scheduled"], q["ready"], q["leased"], q["dead"]) == ("q", 0, 1, 1, 1)
    assert 0 < q["oldest_overdue_s"] < 10
    assert q["next_due_at"] is None
    assert found["workers"] == [{"worker": "w7", "holds": 1}]
    said = cli("status").out
    assert "w7 holds 1" in said
    assert "mail" in said


def test_show(cli: Cli, world: World) -> None:
    world.schedule("later", delay_us=HOUR)
    assert cli("show", "later", "--json").json["state"] == "scheduled"
    bury(world, "d1", reason="Boom: \x1b[2J")
    world.ready("a", "b")
    started = world.started("w7")
    running, waiting = started.id, ({"a", "b"} - {started.id}).pop()
    assert cli("show", waiting, "--json").json["state"] == "due"
    leased = cli("show", running, "--json").json
    assert (leased["state"], leased["worker"], leased["token"], leased["starts"]) == ("leased", "w7", started.token, 1)
    dead = cli("show", "d1", "--json").json
    assert (dead["state"], dead["reason"], dead["task"]) == ("dead", "Boom: \x1b[2J", "f")
    assert dead["died_at"] is not None
    said = cli("show", "d1").out
    assert "Boom" in said
    assert "\x1b" not in said


def test_show_of_no_task(cli: Cli) -> None:
    answer = cli("show", "nobody")
    assert (answer.code, answer.out) == (1, "")
    assert "no task nobody" in answer.err
    assert cli("show", "a b").code == 2


def test_cancel(cli: Cli, world: World) -> None:
    world.schedule("one", "two", delay_us=HOUR)
    assert cli("cancel", "one").code == 0
    assert world.store.record("one") is None
    answer = cli("cancel", "two", "one", "--json")
    assert answer.code == 1
    assert answer.lines == [{"id": "two", "cancelled": True}, {"id": "one", "cancelled": False}]


def test_an_id_may_begin_with_a_dash(cli: Cli, world: World) -> None:
    world.schedule("-Yx", delay_us=HOUR)
    assert cli("cancel", "-Yx").code == 2
    assert cli("cancel", "--", "-Yx").code == 0


def test_cancel_is_too_late_once_started(cli: Cli, world: World) -> None:
    world.ready("a")
    world.started()
    answer = cli("cancel", "a")
    assert answer.code == 1
    assert "not cancelled" in answer.out


def test_dead_list(cli: Cli, world: World) -> None:
    assert cli("dead", "list").out == "no dead letters\n"
    bury(world, "d1", "d2")
    bury(world, "d3", queue="mail")
    listed = cli("dead", "list", "--json").lines
    assert {letter["id"]: letter["queue"] for letter in listed} == {"d1": "q", "d2": "q", "d3": "mail"}
    assert listed[0]["reason"] == "ValueError: no"
    assert [letter["id"] for letter in cli("dead", "list", "--queue", "mail", "--json").lines] == ["d3"]
    short = cli("dead", "list", "--limit", "1")
    assert "2 more" in short.err
    assert "ValueError: no" in short.out


def test_dead_retry(cli: Cli, world: World) -> None:
    bury(world, "d1", "d2", "d3")
    bury(world, "d4", queue="mail")
    answer = cli("dead", "retry", "d1", "nobody", "--json")
    assert answer.code == 1
    assert answer.json == {"retried": 1, "not_dead": ["nobody"]}
    assert cli("dead", "retry", "--all", "--queue", "q", "--json").json == {"retried": 2}
    assert world.states()["scheduled"] == 3
    assert world.states("mail")["dead"] == 1
    assert cli("dead", "retry", "--all").out == "1 retried\n"


def test_dead_purge(cli: Cli, world: World) -> None:
    bury(world, *(f"d{n}" for n in range(120)))
    assert cli("dead", "purge", "d0").code == 0
    refused = cli("dead", "purge", "--all")
    assert refused.code == 2
    assert refused.err == "dueq: this cannot be undone, and there is no terminal to ask on: give --yes\n"
    assert world.states()["dead"] == 119
    assert cli("dead", "purge", "--all", "--yes", "--json").json == {"purged": 119}
    assert world.leftovers() == []


def test_dead_needs_a_selection(cli: Cli) -> None:
    for command in ("retry", "purge"):
        assert cli("dead", command).code == 2
        assert cli("dead", command, "a", "--all").code == 2
        assert cli("dead", command, "a", "--queue", "q").code == 2


def test_purge_leaves_nothing(cli: Cli, world: World) -> None:
    world.schedule(*(f"t{n}" for n in range(1100)), delay_us=HOUR)
    world.schedule("m", queue="mail", delay_us=HOUR)
    bury(world, "d1", "d2")
    world.ready("r1", "r2")
    world.store.cancel("r2")
    other = World(world.settings.redis_url or "", "neighbour", "lua")
    other.schedule("theirs", delay_us=HOUR)
    try:
        assert cli("purge").code == 2
        assert cli("purge", "--yes", "--json").json == {"namespace": world.settings.namespace, "tasks": 1104}
        assert list(world.redis.scan_iter(match=world.keys.prefix + "*", count=10_000)) == []
        assert other.store.record("theirs") is not None
    finally:
        other.close()


def test_purge_waits_for_workers(cli: Cli, world: World) -> None:
    world.ready("a")
    world.started("w1")
    answer = cli("purge", "--yes")
    assert answer.code == 1
    assert "1 workers hold 1 tasks" in answer.err
    assert world.store.record("a") is not None
    assert cli("purge", "--yes", "--force").code == 0
    assert list(world.redis.scan_iter(match=world.keys.prefix + "*", count=10_000)) == []


def test_purge_empties_what_is_long_step_by_step(cli: Cli, world: World) -> None:
    world.schedule(*(f"t{n}" for n in range(3500)), delay_us=HOUR)

    def steps() -> int:
        stats: Any = world.redis.info("commandstats")
        return int(stats.get("cmdstat_zremrangebyrank", {"calls": 0})["calls"])

    before = steps()
    assert cli("purge", "--yes").code == 0
    assert steps() - before >= 4


FORGED = "Boom: \x1b[2J\x9b31m\ndueq: all is well\r\u202eredis://me:s3cret@host/0"


def test_a_reason_neither_steers_the_terminal_nor_shows_a_password(cli: Cli, world: World) -> None:
    """Whatever stands in Redis: an older dueq, or somebody else, may have written it."""
    bury(world, "d1", reason=FORGED)
    for command in (("dead", "list"), ("show", "d1"), ("explain", "d1"), ("status",)):
        answer = cli(*command)
        assert answer.code == 0
        assert all(line.isprintable() for line in (answer.out + answer.err).split("\n")), command
        assert not any(line.startswith("dueq:") for line in answer.out.splitlines())
        assert "s3cret" not in answer.out + cli(*command, "--json").out


def test_what_the_user_types_is_shown_as_it_is(cli: Cli) -> None:
    for command in (
        ("show", "\x1b[2J"),
        ("cancel", "a\nb"),
        ("dead", "retry", "\x1b"),
        ("\x1b[2J",),
        ("show", "--\x9b"),
    ):
        answer = cli(*command)
        assert answer.code != 0
        assert all(line.isprintable() for line in (answer.out + answer.err).split("\n")), command


def test_what_no_application_of_today_would_write_is_shown(cli: Cli, world: World) -> None:
    """Arguments nested deeper than Python reads, or than it writes; due times past the last year."""
    depths = {"d1": 150, "d2": 900, "d3": 20_000}
    for name, depth in depths.items():
        body = b'["deep",[' + b"[" * depth + b"]" * depth + b"]]"
        world.store.schedule([NewTask(name, "q", 0, body)])
    world.store.schedule([NewTask("d4", "q", 0, b'["deep",')])
    world.store.schedule([NewTask("late", "mail", 253_402_300_800_000_000, b'["deep",[]]')])
    for command in ("show", "explain"):
        for task_id in (*depths, "d4", "late"):
            assert cli(command, task_id).code == 0
            assert cli(command, task_id, "--json").code == 0
    shown = cli("show", "d3", "--json").json
    assert (shown["task"], shown["args"]) == ("deep", None)
    assert "bytes" in shown["arguments"]
    assert cli("show", "late", "--json").json["due_at"].startswith("9999-12-31")
    assert cli("status").code == 0
    world.dispatch_all()
    for _ in range(4):
        assert world.settle("w1", Outcome(world.started("w1"), "dead", reason="deep")) == "done"
    assert cli("dead", "list").out.count("deep") >= 4
    assert {letter["id"] for letter in cli("dead", "list", "--json").lines} == {*depths, "d4"}
    assert cli("dead", "purge", "--all", "--yes").code == 0


def test_a_task_that_is_to_run_again_after_its_run(cli: Cli, world: World) -> None:
    world.ready("a")
    claim = world.started()
    assert world.store.again(NewTask("a", "mail", HOUR, b'["next",[2]]', True), claim.token)
    shown = cli("show", "a", "--json").json
    assert (shown["state"], shown["after_this_run"]["task"], shown["after_this_run"]["queue"]) == (
        "leased",
        "next",
        "mail",
    )
    assert "after_this_run" in cli("show", "a").out
    assert cli("cancel", "a").code == 1
    assert world.settle("w1", Outcome(claim, "dead", reason="why")) == "done"
    shown = cli("show", "a", "--json").json
    assert (shown["state"], shown["task"], "after_this_run" in shown) == ("scheduled", "next", False)
    story = cli("explain", "a").out
    apart = f"a~{claim.token}"
    for said in ("to run again after this run", f"under the id {apart}", "scheduled again, as requested"):
        assert said in story
    assert cli("show", apart, "--json").json["reason"] == "why"
    assert cli("dead", "retry", apart).code == 0
    assert cli("cancel", "a").code == 0
    assert "it was cancelled" in cli("explain", "a").out


def test_what_it_took_back_is_no_cancelled_task(cli: Cli, world: World) -> None:
    world.ready("a")
    claim = world.started()
    world.store.again(NewTask("a", "mail", HOUR, b'["next",[2]]', True), claim.token)
    assert world.store.forget_again("a", claim.token)
    assert world.settle("w1", Outcome(claim, "ack")) == "done"
    story = cli("explain", "a").out
    assert "the next run, scheduled while this one ran, was cancelled" in story
    assert "it was cancelled" not in story
