"""An application's module that harms the program that imports it: one line says what is wrong, with an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dueq.core.app.loader import load
from dueq.core.errors import ConfigurationError

APP = """
from dueq import Dueq
app = Dueq("redis://127.0.0.1:1/0")

@app.task
def f(): ...
"""


def run(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DUEQ_REDIS_URL": "redis://127.0.0.1:1/0"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def dueq_run(where: Path, target: str = "shop:app") -> subprocess.CompletedProcess[str]:
    """As the installed program runs: the current directory is not among those that modules are looked for in."""
    return run(where, "-P", "-m", "dueq", "run", target, "--metrics-port", "0")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with an application; what is imported from it is forgotten afterwards."""
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("shop", "pkg"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "ending",
    [
        "import sys; sys.exit()",
        "raise SystemExit(7)",
        "import argparse; argparse.ArgumentParser().parse_args(['--no-such-option'])",
        "import argparse; argparse.ArgumentParser().parse_args(['--help'])",
    ],
)
def test_a_module_that_ends_the_program(ending: str, here: Path) -> None:
    (here / "shop.py").write_text(f"{APP}\n{ending}\n")
    with pytest.raises(ConfigurationError, match=r"shop\.py, line 8.*if __name__ == \"__main__\":"):
        load("shop:app")


def test_the_program_says_so_in_one_line(here: Path) -> None:
    (here / "shop.py").write_text(f"{APP}\nimport sys; sys.exit(0)\n")
    done = dueq_run(here)
    assert done.returncode == 2
    assert done.stderr.startswith("dueq: importing shop ended the program")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("./shop:app", "write shop:app"),
        ("shop.py:app", "write shop:app"),
        ("./shop.py:app", "write shop:app"),
        ("pkg/shop:app", r"write pkg\.shop:app"),
        ("/srv/shop:app", r"write srv\.shop:app"),
        (".shop:app", "write shop:app"),
        ("..shop:app", "write shop:app"),
        ("pkg..shop:app", r"write pkg\.shop:app"),
        ("shop.:app", "write shop:app"),
        ("./:app", "name"),
    ],
)
def test_a_path_in_place_of_a_module(target: str, says: str, here: Path) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load(target)


@pytest.mark.parametrize("name", ["queue.py", "logging.py", "redis/__init__.py"])
def test_a_module_that_hides_one(name: str, here: Path) -> None:
    (here / name).parent.mkdir(exist_ok=True)
    (here / name).write_text("x = 1\n")
    with pytest.raises(ConfigurationError, match=f"{here / name} hides a module"):
        load("shop:app")
    (here / "shop.py").write_text(f"{APP}\nf.after(1)()\n")
    assert f"{here / name} hides a module" in run(here, "shop.py").stderr.splitlines()[-1]


def test_what_hides_nothing_that_is_needed(here: Path) -> None:
    for name in ("calendar.py", "test/__init__.py", "statistics.py", "mail.py"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("x = 1\n")
    assert load("shop:app").tasks


def test_a_queue_that_no_task_names_is_doubted(here: Path) -> None:
    """A mistyped one would be served without a word while its tasks wait."""
    program = ("-P", "-m", "dueq", "run", "shop:app", "--metrics-port", "0", "--queues")
    assert "no task of shop:app names defualt; its queues are default" in run(here, *program, "defualt,default").stderr
    assert "no task of" not in run(here, *program, "default").stderr
