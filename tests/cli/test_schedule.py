"""``dueq schedule``."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.world import World

from dueq.core.app.payload import decode_body
from dueq.core.app.task import HANDLER
from dueq.core.schema.record import Record
from dueq.core.upkeep import engines

from .conftest import Cli


def record(world: World, task_id: str) -> Record:
    found = world.store.record(task_id)
    assert found is not None
    return found


def test_plain_form(cli: Cli, world: World) -> None:
    before = world.now_us()
    answer = cli("schedule", '{"user": 42}', "--in", "10m")
    assert (answer.code, answer.err) == (0, "")
    task = record(world, answer.out.strip())
    assert decode_body(task.body) == (HANDLER, [{"user": 42}], {})
    assert task.queue == "default"
    assert before <= task.due_us - 600_000_000 <= world.now_us()


def test_named_task(cli: Cli, world: World) -> None:
    arguments = ("--task", "shop.remind", '[42, "hi"]', "--kwargs", '{"loud": true}', "--queue", "mail", "--id", "r-42")
    answer = cli("schedule", *arguments, "--at", "2030-01-31T09:00Z", "--json")
    assert answer.json == {
        "id": "r-42", "created": True, "state": "scheduled", "queue": "mail", "due_at": "2030-01-31T09:00:00+00:00",
    }  # fmt: skip
    assert decode_body(record(world, "r-42").body) == ("shop.remind", [42, "hi"], {"loud": True})
    assert cli("schedule", "--task", "shop.sweep", "--in", "1h").code == 0


def test_an_id_in_use_is_told(cli: Cli, world: World) -> None:
    assert cli("schedule", "1", "--in", "1h", "--id", "one").code == 0
    again = cli("schedule", "2", "--in", "2h", "--id", "one", "--json")
    assert again.json == {"id": "one", "created": False, "state": "scheduled"}
    assert "one (scheduled)" in again.err
    assert decode_body(record(world, "one").body)[1] == [1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hello", "--in", "1m"), "'\"hello\"'"),  # shows how to quote
        (("[1]", "--in", "1m", "--at", "100"), "not both"),
        (("[1]",), "either at or in"),
        (("--in", "1m"), "missing"),
        (("{}", "--in", "1m", "--task", "f"), "list of its arguments"),
        (("[]", "--in", "1m", "--task", "f", "--kwargs", "[]"), "kwargs must be an object"),
        (("1", "--in", "1m", "--kwargs", "{}"), "--kwargs goes with --task"),
        (("1", "--in", "1m", "--queue", "a b"), "queue 'a b'"),
        (("1", "--in", "1m", "--id", "a b"), "task id"),
        (("1", "--at", "2030-01-01T00:00"), "time zone"),
        (("NaN", "--in", "1m"), "data is nan"),
        (("1", "--file", "-"), "only --queue and --app"),
    ],
)
def test_wrong_usage(cli: Cli, world: World, arguments: tuple[str, ...], said: str) -> None:
    answer = cli("schedule", *arguments)
    assert answer.code == 2
    assert said in " ".join(answer.err.replace("│", " ").split())
    assert "Traceback" not in answer.err
    assert world.store.queues() == []


def test_file(cli: Cli, world: World, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"data": {"n": n}, "in": "1h", "id": f"n{n}"} for n in range(1500)]
    lines.append({"task": "shop.remind", "args": [1], "kwargs": {"a": 2}, "at": 1_900_000_000, "queue": "mail"})
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    answer = cli("schedule", "--file", str(file))
    assert answer.code == 0
    ids = answer.out.split()
    assert ids[:1500] == [f"n{n}" for n in range(1500)]
    assert world.states("default")["scheduled"] == 1500
    assert record(world, ids[1500]).due_us == 1_900_000_000_000_000
    assert record(world, ids[1500]).queue == "mail"

    again = cli("schedule", "-f", str(file), "--json")
    assert [line["created"] for line in again.lines] == [False] * 1500 + [True]
    assert "1500 not scheduled" in again.err


def test_stdin_with_a_queue_for_all(cli: Cli, world: World) -> None:
    assert cli("schedule", "--file", "-", "--queue", "q", stdin='{"data":1,"in":60}\n{"data":2,"in":"1h"}\n').code == 0
    assert world.states("q")["scheduled"] == 2
    assert cli("schedule", "--file", "-", stdin="\n").out == ""


def test_nothing_is_sent_if_a_line_is_wrong(cli: Cli, world: World) -> None:
    wrong = [
        '{"data": 1, "in": "1m"}',
        '{"data": 1}',
        "nonsense",
        "[1]",
        '{"data": 1, "in": "1m", "when": 3}',
        '{"in": "1m"}',
        '{"data": 1, "in": true}',
        '{"data": 1, "task": "f", "in": 1}',
        '{"data": 1, "in": 1, "id": 7}',
    ]
    answer = cli("schedule", "--file", "-", stdin="\n".join(wrong))
    assert answer.code == 2
    assert answer.out == ""
    assert "line 1:" not in answer.err
    for number in range(2, len(wrong) + 1):
        assert f"line {number}:" in answer.err
    assert world.store.queues() == []


def test_a_file_that_cannot_be_read(cli: Cli, tmp_path: Path) -> None:
    assert "cannot read" in cli("schedule", "--file", str(tmp_path / "none")).err
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert cli("schedule", "--file", str(tmp_path / "binary")).code == 2


def test_what_json_would_drop_or_change_is_refused(cli: Cli) -> None:
    for data, says in (
        ('{"a": 1, "a": 2}', "occurs twice"),
        ('[{"b": {"a": 1, "c": 0, "a": 2}}]', "occurs twice"),
        ("[NaN]", "nan"),
        ("1e999", "inf"),
        ("[" * 150 + "]" * 150, "deep"),
        ("[" * 90_000 + "]" * 90_000, "not valid JSON"),
        ("9" * 4400, "not valid JSON"),
        (r'"\ud800"', "surrogate"),
    ):
        answer = cli("schedule", data, "--in", "1h")
        assert (answer.code, says in answer.err) == (2, True), (data[:40], answer.err[:200])
        line = f'{{"in": 0, "data": {data}}}\n'
        answer = cli("schedule", "--file", "-", stdin=line)
        assert (answer.code, says in answer.err) == (2, True), (data[:40], answer.err[:200])


# -- which tasks there are


APP = """
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from dueq import Dueq
app = Dueq(namespace="of-the-app")

@app.task(queue="mail")
def remind(user, text=""): ...

@app.task
def reminder(): ...

@dataclass
class Price:
    amount: Decimal

@app.task
def renew(until: date, price: Price, tags: set[str] = frozenset()): ...
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_of_cli.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "shop_of_cli", raising=False)


def test_the_app_says_queue_and_arguments(cli: Cli, world: World, shop: None) -> None:
    where = ("--app", "shop_of_cli:app", "--namespace", world.settings.namespace)
    task = ("--task", "shop_of_cli.remind", "--in", "1h")
    assert cli("schedule", *task, "[1]", "--id", "a", *where).code == 0
    assert record(world, "a").queue == "mail"
    assert cli("schedule", *task, "[1]", "--id", "b", "--queue", "slow", *where).code == 0
    assert record(world, "b").queue == "slow"
    line = '{"task": "shop_of_cli.remind", "args": [1], "in": 3600, "id": "c"}\n'
    assert cli("schedule", "--file", "-", *where, stdin=line).code == 0
    assert record(world, "c").queue == "mail"
    for arguments, says in (
        (("--task", "shop_of_cli.remnid", "--in", "1h", "[1]"), "did you mean shop_of_cli.remind"),
        (("--task", "remind", "--in", "1h", "[1]"), "did you mean shop_of_cli.remind"),
        (
            ("--task", "quite.another", "--in", "1h", "[1]"),
            "it knows shop_of_cli.remind, shop_of_cli.reminder, shop_of_cli.renew",
        ),
        ((*task, "[]"), "shop_of_cli.remind(user, text='')"),
        ((*task, "[1, 2, 3]"), "too many"),
        (("1", "--in", "1h"), "@app.handler"),
    ):
        answer = cli("schedule", *arguments, *where)
        assert (answer.code, says in answer.err) == (2, True), answer.err
    answer = cli("schedule", "--file", "-", *where, stdin='{"data": 1, "in": 3600}')
    assert (answer.code, "line 1" in answer.err, '"task" in the line' in answer.err) == (2, True, True), answer.err
    world.redis.delete(*world.redis.keys("dueq:{of-the-app}:*") or ["none"])


def test_the_app_says_types(cli: Cli, world: World, shop: None) -> None:
    where = ("--in", "1h", "--app", "shop_of_cli:app", "--namespace", world.settings.namespace)
    task = ("--task", "shop_of_cli.renew")
    good = '["2030-01-31", {"amount": "19.90"}]'
    assert cli("schedule", *task, good, "--kwargs", '{"tags": ["a"]}', "--id", "a", *where).code == 0
    assert record(world, "a").body == b'["shop_of_cli.renew",["2030-01-31",{"amount":"19.90"}],{"tags":["a"]}]'
    for arguments, says in (
        (('["tomorrow", {"amount": "1"}]',), "until is not a date such as 2030-01-31"),
        (('["2030-01-31", {"amount": 1.5}]',), "price.amount is not a decimal number as text"),
        ((good, "--kwargs", '{"tags": "a"}'), "tags is text in JSON, not a list"),
        (('["2030-01-31"]',), "missing a required argument: 'price'"),
    ):
        answer = cli("schedule", *task, *arguments, *where)
        assert (answer.code, says in " ".join(answer.err.split())) == (2, True), answer.err


def test_the_app_s_own_namespace_yields_to_flags_only(cli: Cli, world: World, shop: None) -> None:
    assert cli("schedule", "[]", "--task", "shop_of_cli.reminder", "--in", "1h", "--app", "shop_of_cli:app").code == 0
    assert world.store.queues() == []
    keys = world.redis.keys("dueq:{of-the-app}:*")
    assert keys
    world.redis.delete(*keys)


def test_the_namespace_says_queue_and_name(cli: Cli, world: World) -> None:
    unchecked = cli("schedule", "[]", "--task", "any.name", "--in", "1h")  # nobody knows
    assert unchecked.code == 0
    assert unchecked.err.startswith("names not checked, since no supervisor is registered: any.name; queue 'default'")
    assert "--app MODULE:APP" in unchecked.err
    assert "queue" not in cli("schedule", "[]", "--task", "any.name", "--in", "1h", "--queue", "mail").err
    served = engines.Served(("mail",), {"shop.remind": "mail", HANDLER: "default"})
    about = engines.about_me("0", "lua", world.now_us())
    engines.enter(world.main, "s1", about, {}, served)
    checked = cli("schedule", "[1]", "--task", "shop.remind", "--in", "1h", "--id", "a")
    assert (checked.code, checked.err) == (0, "")
    assert record(world, "a").queue == "mail"
    assert cli("schedule", "1", "--in", "1h").code == 0
    answer = cli("schedule", "[1]", "--task", "shop.remnid", "--in", "1h")
    assert (answer.code, "did you mean shop.remind?" in answer.err) == (2, True)
    assert "--app" in answer.err
    answer = cli("schedule", "[1]", "--task", 'shop."x', "--in", "1h")
    assert (answer.code, "quotes" in answer.err) == (2, True)


def test_until_when_it_may_start_and_headers(cli: Cli, world: World) -> None:
    world.note("a", "b", "c")
    assert (
        cli("schedule", "1", "--in", "1h", "--id", "a", "--expires", "5m", "--header", "k=v=w", "--header", "x=").code
        == 0
    )
    assert cli("schedule", "1", "--in", "1h", "--id", "b", "--expires", "2999-01-31T09:00Z").code == 0
    line = '{"data": 1, "in": "1h", "id": "c", "expires": 300, "headers": {"k": "v"}}\n'
    assert cli("schedule", "--file", "-", stdin=line).code == 0
    shown = {name: cli("show", name, "--json").json for name in "abc"}
    for name in "ac":
        until, due = (datetime.fromisoformat(shown[name][key]) for key in ("expires_at", "due_at"))
        assert until - due == timedelta(minutes=5)
    assert shown["b"]["expires_at"] == "2999-01-31T09:00:00+00:00"
    assert (shown["a"]["headers"], shown["c"]["headers"]) == ({"k": "v=w", "x": ""}, {"k": "v"})
    assert "headers" not in shown["b"]
    for wrong in (
        ["--header", "novalue"],
        ["--header", "=x"],
        ["--expires", "soon"],
        ["--expires", "2030-01-31T09:00"],
    ):
        refused = cli("schedule", "1", "--in", "1h", *wrong)
        assert refused.code == 2, wrong
    for name in "abc":
        assert cli("cancel", name).code == 0
