"""The programs in examples/ do what they say, each on a real engine, scheduled by the program itself as a producer."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.engine import Engine
from support.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.long]

EXAMPLES = Path(__file__).parents[2] / "examples"


def produce(engine: Engine, program: str, environment: dict[str, str] | None = None) -> str:
    """Run an example as a program, on the engine's Redis; returns what it printed."""
    done = subprocess.run(
        [sys.executable, program],
        cwd=EXAMPLES,
        env=os.environ | {"DUEQ_REDIS_URL": engine.url} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(engine: Engine, *texts: str) -> None:
    wait_until(lambda: all(text in engine.log.read_text() for text in texts), 30, what=" and ".join(texts))


def test_shop(engine: Engine) -> None:
    engine.run("--workers", "1", target="shop:app", apps=EXAMPLES)
    said = produce(engine, "shop.py")
    assert "again under the same id: False" in said
    assert "moved: True cancelled: True" in said
    wait_for(engine, "user 42: your cart is waiting (attempt 1)", "user 2: hello", "got {'any': 'JSON'}")
    assert "user 43" not in engine.log.read_text()


def test_payments(engine: Engine) -> None:
    engine.run("--workers", "1", target="payments:app", apps=EXAMPLES)
    produce(engine, "payments.py")
    wait_for(engine, "invoice-1: paid, seen at attempt 3")


def test_stock(engine: Engine, tmp_path: Path) -> None:
    database = {"STOCK_DATABASE": str(tmp_path / "stock.db")}
    engine.run("--workers", "2", target="stock:app", apps=EXAMPLES, environment=database)
    produce(engine, "stock.py", database)

    def left() -> int:
        with closing(sqlite3.connect(tmp_path / "stock.db", timeout=30)) as connection:
            return int(connection.execute("SELECT left_over FROM stock").fetchone()[0])

    wait_until(lambda: left() == 80, 30, what="ten orders of two are booked")
    produce(engine, "stock.py", database)  # the stock is full again, and every order was booked before
    wait_until(lambda: engine.log.read_text().count("was booked before") == 10, 30, what="all ten were seen before")
    assert left() == 100


def test_every_example_is_tested() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tested


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_opens_with_what_it_shows(path: Path) -> None:
    assert path.read_text().startswith('"""')
