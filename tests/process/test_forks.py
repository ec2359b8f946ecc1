"""What a fork gives up, and how it ends, each in a program of its own, since hooks of forks cannot be removed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_PROGRAM = """
import os, signal, sys, threading
from dueq.core.process import forks

def blocked():
    return {*signal.pthread_sigmask(signal.SIG_BLOCK, ())}

seen = []
forks.on_fork(lambda: seen.append(signal.SIGTERM in blocked() and signal.SIGUSR1 in blocked()))
forks.arm()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
forks.end_here(ValueError("not in the process itself"))

def check():
    pid = os.fork()
    if not pid:
        assert blocked() == {signal.SIGUSR2}, "its mask is as it was"
        forks.end_here(SystemExit(7) if seen == [True] else None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert blocked() == {signal.SIGUSR2}

check()
thread = threading.Thread(target=check)
thread.start()
thread.join()
print("checked")
"""

_ENDS = """
import os
from dueq.core.process import forks

class Sour(Exception):
    def __str__(self):
        raise SystemExit(9)

forks.arm()
pid = os.fork()
if not pid:
    print("said")
    forks.end_here({error})
    os._exit(99)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


def test_it_gives_up_what_is_not_its_own_with_signals_held_back_and_in_threads_too() -> None:
    done = _run(_PROGRAM)
    assert (done.stdout, done.returncode) == ("checked\n", 0), done.stderr


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        ("None", 0, ""),
        ("SystemExit()", 0, ""),
        ("SystemExit(3)", 3, ""),
        ("SystemExit(256 + 3)", 3, ""),
        ("SystemExit('why')", 1, "why\n"),
        ("ValueError('why')", 1, "ValueError: why\n"),
        ("KeyboardInterrupt()", 128 + signal.SIGINT, "KeyboardInterrupt\n"),
        ("Sour()", 1, "Sour: <exception str() failed>\n"),
    ],
)
def test_it_ends_as_a_program_does(error: str, status: int, shown: str) -> None:
    done = _run(_ENDS.format(error=error))
    assert (done.stdout, done.returncode) == ("said\n", status)
    assert done.stderr.endswith(shown)
    assert bool(done.stderr) == bool(shown)
