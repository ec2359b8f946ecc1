"""Tasks that are declared with every type there is. Each run records what it got, pickled, in the ledger."""

from __future__ import annotations

import base64
import datetime
import decimal
import os
import pickle
from collections.abc import Callable
from typing import Any

from support.rich_types import Money
from support.rich_values import LEAVES, UNIONS

from dueq import Dueq, Task, current

app = Dueq()

DECLARED = {**LEAVES, **UNIONS}


def record(value: Any) -> None:
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{current().id} {base64.b64encode(pickle.dumps(value)).decode()}\n".encode())
    os.close(ledger)


def _task(number: int, annotation: Any) -> Task[..., Any]:
    def takes(value: Any) -> None:
        record(value)

    takes.__annotations__ = {"value": annotation}
    return app.task(name=f"takes{number}")(takes)


TASKS: list[Task[..., Any]] = [_task(number, annotation) for number, annotation in enumerate(DECLARED)]


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    return wrapper


@app.task(name="pay", retries=3)
def pay(user: int, due: datetime.datetime, price: Money, *days: datetime.date, **limits: decimal.Decimal) -> None:
    record((user, due, price, days, limits))


@app.task(name="decorated")
@logged
def decorated(user: int, due: datetime.datetime) -> None:
    record((user, due))


@app.handler
def handle(data: Money) -> None:
    record(data)
