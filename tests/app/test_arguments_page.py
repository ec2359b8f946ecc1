"""docs/arguments.md: its examples run, and its table of types says what is so."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import pathlib
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
import redis
from support.rich_types import same

from dueq import Dueq
from dueq.core.app.payload import decode_body
from dueq.core.errors import WrongArguments

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "arguments.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
ROWS = re.findall(r"^\| `([^`]+)`[^|]*\|[^|]*\| `([^|]+)` \| `([^|]+)` \|$", PAGE, re.MULTILINE)
"""Of the table: a declaration, a value, and its JSON."""


class Color(enum.Enum):
    RED = "red"


class Movie(TypedDict):
    title: str
    released: datetime.date


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Money:
    amount: decimal.Decimal
    currency: str


class Event(msgspec.Struct):
    day: datetime.date


class User(pydantic.BaseModel):
    born: datetime.date


NAMES = globals() | vars(datetime) | vars(pathlib) | {"UUID": uuid.UUID, "Decimal": decimal.Decimal}


@pytest.fixture
def billing(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names of a module with the page's examples, which have run."""
    monkeypatch.setenv("DUEQ_REDIS_URL", redis_url)
    module = ModuleType("billing")
    monkeypatch.setitem(sys.modules, "billing", module)
    for block in BLOCKS:
        exec(block, vars(module))
    yield vars(module)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.keys("dueq:{billing}:*"))


def test_the_examples(billing: dict[str, Any]) -> None:
    collect = billing["collect"]
    [text] = re.findall(r"^dueq schedule --task billing.collect '(.*)' --in", PAGE, re.MULTILINE)
    collect.check_json(json.loads(text), {})
    [reason] = re.findall(r"with a reason such as `([^`]*)`", PAGE)
    with pytest.raises(WrongArguments) as caught:
        collect.entry({"id": str(uuid.uuid4()), "total": "1"}, "tomorrow")
    assert str(caught.value).startswith(" ".join(reason.split()))


def test_the_example_of_the_readme(billing: dict[str, Any]) -> None:
    [example] = re.findall(r"```python\n(@app\.task\ndef renew.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    billing["Money"] = Money
    exec(example, billing)
    assert billing["renew"].conversion is not None


@pytest.mark.parametrize(("declared", "value", "in_json"), ROWS)
def test_the_table(declared: str, value: str, in_json: str) -> None:
    def function(value: Any) -> Any:
        return value

    function.__annotations__ = {"value": Any if declared == "None" else eval(declared, NAMES)}
    task = Dueq("redis://127.0.0.1:1/0").task(name="t")(function)
    given = eval(value, NAMES)
    body = task.call_after(1)(given).body
    assert body.decode() == f'["t",[{in_json}]]'
    _, args, kwargs = decode_body(body)
    assert same(given, task.entry(*args, **kwargs))


def test_the_table_has_every_type() -> None:
    assert len(ROWS) == 18
