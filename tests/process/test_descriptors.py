"""Standard descriptors that are closed when a program starts."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

_PROGRAM = """
import os, sys
from dueq.core.process.descriptors import open_missing
open_missing()
next_one = os.open(os.devnull, os.O_RDONLY)
assert next_one > 2, next_one
print("out"), sys.stdout.flush()
print("err", file=sys.stderr), sys.stderr.flush()
assert sys.stdin.read() == ""
os.execv("/bin/sh", ["sh", "-c", "echo again >&2; cat"])  # what is started has them, too
"""


@pytest.mark.parametrize(
    "closed", [fds for n in range(4) for fds in itertools.combinations((0, 1, 2), n)], ids=lambda fds: f"closed {fds}"
)
def test_each_is_there_and_the_others_are_as_they_were(closed: tuple[int, ...]) -> None:
    redirects = " ".join(f"{fd}>&-" for fd in closed)
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirects}', "sh", sys.executable, "-c", _PROGRAM],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("" if 1 in closed else "out\n")
    assert done.stderr == ("" if 2 in closed else "err\nagain\n")
