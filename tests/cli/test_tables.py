"""Tables in a terminal of 80 columns: ids and times stay on one line, whatever is beside them."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest
from support.world import World

from dueq.core.store.values import Outcome

from .conftest import Cli

COLUMNS = 80
ID = "5d41402abc4b2a76b971"  # as dueq makes them
LONG_ID = "x" * 120
WORDS = "ValueError: the bank said no, and nobody knows why, so it has been tried again and again"
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_DATE = re.compile(r"\b20\d\d-\d\d-\d\d")

COMMANDS = {"dead": "dead list", "quarantine": "quarantine", "explain": f"explain {ID}", "tasks": f"show {ID}"}
"""The modules that draw tables of tasks, each with a command that draws one."""
_OTHERS = {"bench", "chaos", "doctor", "status", "output"}
"""Those whose tables have neither ids nor times: suites, scenarios, settings, queues."""


def in_terminal(cli: Cli, command: str) -> str:
    """What ``dueq`` writes into a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = os.environ | cli.environment | {"TERM": "dumb"}
    environment.pop("COLUMNS", None)
    words = [sys.executable, "-m", "dueq", *command.split()]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 1 << 16):
            said += data
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0, said
    return said.decode()


def bury(world: World, task_id: str) -> None:
    """A dead letter with a long reason and a long name, and a damaged record of the same id in quarantine."""
    world.ready(task_id, queue="payments", calls="shop.payments.charge_customer_again")
    claim = world.take("worker.host-1.4711", "payments").started
    assert claim is not None
    assert world.settle("worker.host-1.4711", Outcome(claim, "dead", reason=WORDS)) == "done"


def test_every_command_that_draws_a_table_is_known() -> None:
    home = Path(__file__).parents[2] / "src" / "cli"
    drawing = {path.stem for path in home.glob("*.py") if re.search(r"\btable\(", path.read_text("utf-8"))}
    assert drawing == COMMANDS.keys() | _OTHERS


@pytest.mark.parametrize("module", COMMANDS)
def test_ids_and_times_stay_on_one_line(cli: Cli, world: World, module: str) -> None:
    bury(world, ID)
    world.redis.hset(world.keys.record("other"), "other", b"rubbish")
    world.redis.lpush(world.keys.of("ready", "q"), "other")
    world.take()
    text = in_terminal(cli, COMMANDS[module])
    assert TIME.search(text), text
    assert ("other" if module == "quarantine" else ID) in text or module == "explain", text
    rows = [line for line in text.splitlines() if not line.startswith("it is a dead letter")]  # that is no table
    assert max(map(len, rows)) <= COLUMNS, text
    assert not [row for row in rows if _DATE.search(row) and not TIME.search(row)], text


def test_an_id_that_is_wider_than_the_terminal_is_not_cut(cli: Cli, world: World) -> None:
    bury(world, LONG_ID)
    text = in_terminal(cli, "dead list")
    assert LONG_ID in text
    assert TIME.search(text)
