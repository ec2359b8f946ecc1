"""Arguments with types that JSON does not have, through a real Redis and real workers."""

from __future__ import annotations

import base64
import itertools
import pickle
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.engine import Engine
from support.engine_fixtures import application
from support.rich_types import Money, same
from support.rich_values import LEAVES, UNIONS
from support.waiting import wait_until

from dueq.core.app.payload import encode_body
from dueq.core.app.task import Call

pytestmark = pytest.mark.processes

TESTS = Path(__file__).parents[1]
NOW = datetime(2030, 1, 31, 9, tzinfo=UTC)
PRICE = Money(Decimal("19.90"))

VALUES = [*LEAVES.values(), *UNIONS.values()]
cases = st.sampled_from(range(len(VALUES))).flatmap(lambda number: st.tuples(st.just(number), VALUES[number]))
numbers = itertools.count()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine of the application for all tests: its processes import a lot."""
    engine = Engine(tmp_path_factory.mktemp("typed"))
    engine.run("--workers", "2", target="typed:app", environment={"PYTHONPATH": str(TESTS)})
    yield engine
    engine.close()


@pytest.fixture
def typed(engine: Engine) -> Iterator[ModuleType]:
    """The application."""
    with application(engine, "typed") as app:
        yield app


def arrived(engine: Engine, *ids: str) -> list[Any]:
    """What the tasks got."""
    found: dict[str, Any] = {}

    def all_did() -> bool:
        for line in engine.ledger.read_text().splitlines() if engine.ledger.exists() else ():
            task_id, value = line.split()
            found[task_id] = pickle.loads(base64.b64decode(value))
        return found.keys() >= {*ids}

    wait_until(all_did, 30, what=f"{len(ids)} tasks ran")
    return [found[task_id] for task_id in ids]


def reason_of(typed: ModuleType, args: list[Any], kwargs: dict[str, Any]) -> str:
    """Why a call of ``pay`` with these JSON values became a dead letter."""
    task_id = f"wrong{next(numbers)}"
    typed.app.schedule_many([Call("pay", "default", 0, True, encode_body("pay", args, kwargs, 10_000), task_id)])
    store = typed.app._connected().reached().store
    wait_until(lambda: any(one.record.id == task_id for one in store.dead("default", 0, 99)), 20)
    [letter] = [one for one in store.dead("default", 0, 99) if one.record.id == task_id]
    assert (letter.record.starts, letter.record.retries) == (1, 0)
    return str(letter.reason)


def test_they_arrive(engine: Engine, typed: ModuleType) -> None:
    @settings(max_examples=10, deadline=None, suppress_health_check=[*HealthCheck])
    @given(st.lists(cases, min_size=40, max_size=60))
    def check(given_ones: list[tuple[int, Any]]) -> None:
        calls = [typed.TASKS[number].call_after(0, id=f"t{next(numbers)}")(value) for number, value in given_ones]
        typed.app.schedule_many(calls)
        for (_, value), got in zip(given_ones, arrived(engine, *(call.id for call in calls)), strict=True):
            assert same(value, got)

    check()


def test_ways_to_call(engine: Engine, typed: ModuleType) -> None:
    typed.pay.after(0, id="a")(1, NOW, PRICE)
    typed.pay.after(0, id="b")(1, price=PRICE, due=NOW, least=Decimal("1.0"))
    typed.pay.after(0, id="c")(1, NOW, PRICE, date(2030, 1, 1), date(2030, 1, 2), least=Decimal("1.0"))
    typed.decorated.after(0, id="d")(1, NOW)
    typed.app.schedule_task(0, PRICE, id="e")
    days = (date(2030, 1, 1), date(2030, 1, 2))
    assert arrived(engine, *"abcde") == [
        (1, NOW, PRICE, (), {}),
        (1, NOW, PRICE, (), {"least": Decimal("1.0")}),
        (1, NOW, PRICE, days, {"least": Decimal("1.0")}),
        (1, NOW),
        PRICE,
    ]


def test_from_other_programs(engine: Engine, typed: ModuleType) -> None:
    """JSON as a shell or another language writes it; what does not fit is a dead letter at once."""
    body = b'["pay",[1,"2030-01-31T10:00:00+01:00",{"amount":"19.90"}],{"least":1}]'
    typed.app.schedule_many([Call("pay", "default", 0, True, body, "json")])
    assert arrived(engine, "json") == [(1, NOW, PRICE, (), {"least": Decimal(1)})]
    due, price = "2030-01-31T10:00:00Z", {"amount": "19.90"}
    made = "was made for pay(user, due, price, *days, **limits), got"
    for args, kwargs, got, why in (
        ([1, "tomorrow", price], {}, "(int, str, dict)", "due is not a time with its offset"),
        ([1, "2030-01-31T10:00:00", price], {}, "(int, str, dict)", "due is not a time with its offset"),
        ([1, due, [1]], {}, "(int, str, list)", "price is a list in JSON, not an object"),
        ([1, due, {}], {}, "(int, str, dict)", "price lacks the field amount"),
        ([1, due, price | {"x": 1}], {}, "(int, str, dict)", "price has the field x"),
        ([1, due, {"amount": 19.9}], {}, "(int, str, dict)", "price.amount is not a decimal number as text"),
        ([1, due, price, "x"], {}, "(int, str, dict, str)", "days[0] is not a date"),
        ([1, due, price], {"most": "x"}, "(int, str, dict, most=str)", "most is not a decimal"),
        ([1, due], {}, "(int, str)", "is the code of producer and worker the same?"),
    ):
        reason = reason_of(typed, args, kwargs)
        assert f"{made} {got}" in reason
        assert why in reason
    assert engine.total(engine.processes[0], "dueq_tasks_finished_total", outcome="retried") == 0
