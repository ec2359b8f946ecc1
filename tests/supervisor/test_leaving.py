"""What a process leaves behind does not delay its end: within a second all of it is ended, or named and left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.waiting import wait_until

_TRIES = 5  # the quickest counts: what a busy machine adds is not the process's
_PROGRAM = """
import atexit, concurrent.futures, logging, multiprocessing, os, signal, sys, threading, time
from pathlib import Path
from dueq.core.telemetry import logs
from dueq.core.supervisor.leaving import leave
from dueq.core.process.uncaught import log_what_nobody_catches

fork = multiprocessing.get_context("fork")

def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)

def quick(name):
    time.sleep(0.1)
    Path(name).touch()

class Sour(threading.Thread):
    def join(self, timeout=None):
        raise SystemExit(3)

def child(target, *args, daemon):
    process = fork.Process(target=target, args=args, daemon=daemon)
    process.start()
    print(process.pid, flush=True)

def busy(pool):
    pool.submit(time.sleep, 60)
    time.sleep(0.1)
    return pool

if __name__ == "__main__":
    logs.set_up("json", role="worker")
    log_what_nobody_catches()
    {case}
    print(time.monotonic(), flush=True)
    leave(0)
"""
_CASES: dict[str, tuple[str, str]] = {
    "nothing": ("pass", ""),
    "a thread": ("threading.Thread(target=time.sleep, args=(60,), name='lazy').start()", "1 thread (lazy) is still"),
    "a daemon thread": ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", ""),
    "a thread that fights back": ("Sour(target=time.sleep, args=(60,)).start()", "an error came up"),
    "a pool of threads": ("concurrent.futures.ThreadPoolExecutor().submit(int)", ""),
    "a busy pool of threads": (
        "busy(concurrent.futures.ThreadPoolExecutor(1))",
        "1 thread (ThreadPoolExecutor-0_0) is",
    ),
    "a pool of processes": ("concurrent.futures.ProcessPoolExecutor(1, fork).submit(int).result()", ""),
    "an old pool of processes": ("pool = fork.Pool(2); pool.apply_async(time.sleep, (60,))", ""),
    "a daemon child": ("child(time.sleep, 60, daemon=True)", ""),
    "a deaf daemon child": ("child(deaf, daemon=True); time.sleep(0.1)", "have not ended within 0.9 s"),
    "a child": ("child(time.sleep, 60, daemon=False)", "1 child process (ForkProcess-1 ("),
    "atexit functions": ("atexit.register(quick, 'first'); atexit.register(quick, 'second')", ""),
    "an atexit function that starts a thread": (
        "atexit.register(lambda: threading.Thread(target=quick, args=('first',)).start())",
        "",
    ),
    "an atexit function that fails": ("atexit.register(quick, 'first'); atexit.register(int, 'x')", "ValueError"),
    "an atexit function that exits": ("atexit.register(quick, 'first'); atexit.register(sys.exit, 3)", "SystemExit"),
    "an endless atexit function": ("atexit.register(time.sleep, 60)", "have not ended within 0.9 s"),
    "a tracker of resources, and a child that has it": (
        "fork.Semaphore(); from multiprocessing import shared_memory; "
        "shared_memory.SharedMemory(create=True, size=8).unlink(); child(time.sleep, 60, daemon=False)",
        "1 child process",
    ),
}


class Left:
    """One process that has left."""

    def __init__(self, case: str, directory: Path) -> None:
        program = directory / "program.py"
        program.write_text(_PROGRAM.replace("{case}", textwrap.dedent(case)))
        with (directory / "said").open("w+b") as said:
            process = subprocess.Popen([sys.executable, program], cwd=directory, stdout=said, stderr=subprocess.STDOUT)
            self.status = process.wait()
            ended = time.monotonic()
            said.seek(0)
            lines = said.read().decode().splitlines()
        self.log: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
        *children, began = (line for line in lines if not line.startswith("{"))
        self.took, self.children = ended - float(began), [int(child) for child in children]


def _is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("name", _CASES)
def test_what_is_left_holds_up_the_end_of_a_process_for_a_second_at_most(name: str, tmp_path: Path) -> None:
    case, said = _CASES[name]
    took: list[float] = []
    while len(took) < _TRIES and (not took or took[-1] > 1):
        left = Left(case, tmp_path)
        took.append(left.took)
        assert left.status == 0
        assert said in json.dumps(left.log), left.log
        assert bool(left.log) == bool(said), left.log
        for child in left.children:
            if "daemon=False" in case:
                assert _is_there(child), "Python does not end those; it would have waited"
                os.kill(child, signal.SIGKILL)
            else:
                wait_until(lambda child=child: not _is_there(child), 10)  # type: ignore[misc]
        assert (tmp_path / "first").exists() == ("'first'" in case and "starts" not in name)
    print(f"{name}: {min(took):.3f} s")
    assert min(took) <= 1, took
