"""The command line on a system with faults: one line and the right exit status, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from dueq.cli.app import app
from dueq.core.app.application import Dueq

NOBODY = "redis://127.0.0.1:1"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
NOTHING: Mapping[str, str] = MappingProxyType({})


def dueq(
    *words: str,
    before: str = "pass",
    cwd: Path | None = None,
    out: str = "",
    err: str = "",
    env: Mapping[str, str] = NOTHING,
) -> tuple[int, str, str]:
    """The exit status, stdout and stderr of ``dueq``; ``before`` runs first in its process; ``out`` and ``err`` are
    files in place of pipes."""
    program = f"import sys; {before}; sys.argv[1:] = {list(words)!r}; from dueq.__main__ import main; main()"
    redirected = f"{f'>{out}' if out else ''} {f'2>{err}' if err else ''}"
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-c", program],
        cwd=cwd,
        env=os.environ | {"DUEQ_REDIS_URL": NOBODY} | dict(env),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def complaint(text: str) -> str:
    """The one line of it."""
    [line] = text.splitlines()
    assert line.startswith("dueq: ")
    return line


@pytest.mark.parametrize("words", [("--version",), ("schedule", "--help")])
def test_a_full_disk_under_the_answer(words: tuple[str, ...]) -> None:
    status, _, said = dueq(*words, out="/dev/full")
    assert status == 2
    assert "No space left" in complaint(said)


def test_a_full_disk_under_the_complaint_changes_no_exit_status() -> None:
    assert dueq("status", err="/dev/full")[0] == 3
    assert dueq("run", "nowhere:app", err="/dev/full")[0] == 2


def test_no_working_directory(tmp_path: Path) -> None:
    gone = "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"
    status, _, said = dueq("run", "nowhere:app", before=gone, cwd=tmp_path)
    assert status == 2
    assert "working directory" in complaint(said)
    status, _, said = dueq("run", "nowhere:app", "--state-file", "here.json", before=gone, cwd=tmp_path)
    assert status == 2
    assert "here.json" in complaint(said)
    assert dueq("status", before=gone, cwd=tmp_path)[0] == 3, "which needs none"


def test_no_directory_for_temporary_files() -> None:
    status, _, said = dueq("demo", before="import tempfile; tempfile._candidate_tempdir_list = lambda: ['/proc/none']")
    assert status == 2
    assert "No usable temporary directory" in complaint(said)


@pytest.mark.parametrize("where", [".", "missing/state.json", "/proc/state.json"])
def test_a_state_file_that_cannot_be_one(tmp_path: Path, where: str) -> None:
    status, _, said = dueq("run", "nowhere:app", "--state-file", where, cwd=tmp_path)
    assert status == 2
    assert f"the state file {where} cannot be written" in complaint(said)


def test_every_help_in_a_locale_of_ascii() -> None:
    commands = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    program = f"""
import contextlib, sys
from dueq.__main__ import main
print(sys.stdout.encoding)
for command in {commands!r}:
    sys.argv[1:] = [command, "--help"]
    with contextlib.suppress(SystemExit):
        main()
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=os.environ | ASCII, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "ascii"
    assert done.stdout.count("Usage: ") == len(commands)


def test_what_is_not_ascii_is_shown_in_such_a_locale_all_the_same(redis_url: str) -> None:
    task_id, data = "ascii-1", {"\u00fc": "\u2013\U0001f600"}
    Dueq(redis_url, namespace="ascii-locale").schedule_task(4_000_000_000, data, id=task_id)
    where = ASCII | {"DUEQ_REDIS_URL": redis_url, "DUEQ_NAMESPACE": "ascii-locale"}
    for words in (("status",), ("explain", task_id)):
        status, said, complained = dueq(*words, env=where)
        assert (status, complained) == (0, "")
        assert said.isascii()
    status, said, complained = dueq("show", task_id, "--json", env=where)
    assert (status, complained) == (0, "")
    assert json.loads(said)["id"] == task_id
    assert "\U0001f600" in json.dumps(json.loads(said), ensure_ascii=False)
