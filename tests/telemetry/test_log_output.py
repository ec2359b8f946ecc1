"""Log lines over a pipe that is read slowly or not at all, and over something that is not a pipe."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until

from dueq.core.telemetry.log_output import PIPE_BUF, Output


def notice(lost: int) -> str:
    return f"lost {lost}"


class Pipe:
    """A pipe under test, and what was read from it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.text = b""

    def read(self, size: int = 1 << 16) -> None:
        self.text += os.read(self.reading, size)

    def read_until(self, words: str) -> list[str]:
        wait_until(lambda: self._has(words), 60, what=f"{words!r} has been read")
        return self.text.decode().splitlines()

    def _has(self, words: str) -> bool:
        while select.select([self.reading], [], [], 0)[0]:
            self.read()
        return words.encode() in self.text

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_nobody_who_writes_waits_and_what_is_lost_is_counted_and_said_where_it_is_missing(pipe: Pipe) -> None:
    output, lost = Output(notice, pipe.writing, queue_bytes=100_000), list[float]()
    output.count_with(lost.append)
    for number in range(5000):  # if one waited, it would be for ever
        output.write(f"{number:099}")
    kept = 5000 - int(sum(lost))
    assert 1500 <= kept <= 1700, "what the pipe takes, and the queue"
    pipe.read_until(f"{kept - 1:099}\nlost {5000 - kept}\n")
    output.write("after")
    lines = pipe.read_until("after")
    assert lines == [*(f"{number:099}" for number in range(kept)), f"lost {5000 - kept}", "after"]
    output.close()
    assert sum(lost) == 5000 - kept


def test_the_notice_stands_before_the_first_line_that_finds_room_again(pipe: Pipe) -> None:
    output = Output(notice, pipe.writing, queue_bytes=10_000)
    for number in range(2000):
        output.write(f"{number:099}")
    pipe.read()
    wait_until(lambda: output._size < 5000, 60, what="the queue has moved into the pipe")
    output.write("after")
    lines = pipe.read_until("after")
    assert lines[-1] == "after"
    assert lines[-2] == f"lost {2000 - (len(lines) - 2)}"
    output.close()


def test_a_slow_reader_loses_nothing(pipe: Pipe) -> None:
    output = Output(notice, pipe.writing)
    ended = threading.Event()

    def read_slowly() -> None:
        while not ended.is_set() or select.select([pipe.reading], [], [], 0)[0]:
            if select.select([pipe.reading], [], [], 0.01)[0]:
                pipe.read(4096)
                time.sleep(0.002)

    thread = threading.Thread(target=read_slowly)
    thread.start()
    for number in range(3000):
        output.write(f"{number:099}")
    wait_until(lambda: not output._queue, 60)
    output.close()
    ended.set()
    thread.join()
    assert pipe.text.decode().splitlines() == [f"{number:099}" for number in range(3000)]


def test_the_end_does_not_wait_for_who_does_not_read(pipe: Pipe) -> None:
    output, lost = Output(notice, pipe.writing), list[float]()
    output.count_with(lost.append)
    for number in range(2000):
        output.write(f"{number:099}")
    began = time.monotonic()
    output.close()
    assert time.monotonic() - began < 10
    kept = 2000 - int(sum(lost))
    assert pipe.read_until(f"{kept - 1:099}\n") == [f"{number:099}" for number in range(kept)]


def test_stderr_itself_is_not_made_to_wait_or_not(pipe: Pipe) -> None:
    """Other programs, such as the shell, have the same open file."""
    output = Output(notice, pipe.writing)
    output.write("x")
    assert os.get_blocking(pipe.writing)
    output.close()
    assert os.get_blocking(pipe.writing)


WRITER = """
import sys, time
from dueq.core.telemetry.log_output import Output
output, lost = Output(lambda lost: f"lost {lost}", 2), []
output.count_with(lost.append)
for number in range(200):
    output.write(sys.argv[1] * (50 if number % 3 else 9000))
while output._queue:
    time.sleep(0.01)
output.close()
print(int(sum(lost)))
"""


def test_lines_of_many_processes_stay_whole_however_long(pipe: Pipe) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, char], stderr=pipe.writing, stdout=subprocess.PIPE)
        for char in "abc"
    ]
    while any(writer.poll() is None for writer in writers) or select.select([pipe.reading], [], [], 0)[0]:
        if select.select([pipe.reading], [], [], 0.05)[0]:
            pipe.read(3000)
    lines = pipe.text.decode().splitlines()
    assert [line for line in lines if len(set(line)) != 1 or len(line) not in (50, 9000)] == []
    lost = sum(int(writer.communicate()[0]) for writer in writers)  # on a busy machine the reader may be slower
    assert len(lines) + lost == 600


def test_a_long_line_is_not_begun_where_it_might_not_be_ended(pipe: Pipe) -> None:
    output = Output(notice, pipe.writing)
    output.write("a" * 50_000)
    output.write("b" * 30_000)
    output.close()
    assert PIPE_BUF < 30_000
    pipe.read()
    assert pipe.text == b"a" * 50_000 + b"\n"


def test_nobody_there_any_more(pipe: Pipe) -> None:
    output, lost = Output(notice, pipe.writing), list[float]()
    os.close(pipe.reading)
    output.count_with(lost.append)
    for _ in range(3):
        output.write("x")
    assert sum(lost) == 3
    output.close()
    pipe.reading = os.open("/dev/null", os.O_RDONLY)


def test_stderr_closed_from_the_start_and_opened_later(tmp_path: Path) -> None:
    at = os.dup2(2, 700)
    os.close(at)
    output, lost = Output(notice, at), list[float]()
    output.write("nowhere")
    output.count_with(lost.append)
    assert lost == [1], "what was lost before anybody counted is counted, too"
    with (tmp_path / "log").open("wb") as file:
        os.dup2(file.fileno(), at)
        output.write("it is found to be open again")
        output.write("somewhere")
        os.close(at)
    output.close()
    assert (tmp_path / "log").read_text() == "it is found to be open again\nlost 1\nsomewhere\n"


def test_a_full_disk_tears_no_line_for_good(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from dueq.core.telemetry.log_output import Output
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
output, lost = Output(lambda lost: f"lost {lost}", 2), []
output.count_with(lost.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (25, resource.RLIM_INFINITY))
for number in range(4):
    output.write(f"line {number} of ten")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
output.write("after")
output.close()
print(int(sum(lost)))
"""
    with (tmp_path / "log").open("wb") as file:
        done = subprocess.run([sys.executable, "-c", program], stderr=file, stdout=subprocess.PIPE, check=True)
    lines = (tmp_path / "log").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("line 0 of ten", "after")
    assert "lost 3" in lines
    assert int(done.stdout) == 3


def test_a_paused_terminal_holds_up_nobody() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    termios.tcflow(theirs, termios.TCOOFF)
    output = Output(notice, theirs)
    for number in range(1000):
        output.write(f"{number:099}")
    termios.tcflow(theirs, termios.TCOON)
    text = b""
    while f"{999:099}".encode() not in text:
        assert select.select([ours], [], [], 60)[0]
        text += os.read(ours, 1 << 16)
    assert text.decode().splitlines() == [f"{number:099}" for number in range(1000)]
    output.close()
    os.close(ours)
    os.close(theirs)


def test_a_socket_that_nobody_reads_holds_up_nobody() -> None:
    """A service's stderr is one, under systemd."""
    ours, theirs = socket.socketpair()
    output = Output(notice, theirs.fileno())
    for number in range(5000):
        output.write(f"{number:099}")
    assert theirs.getblocking()
    text = b""
    while f"{4999:099}".encode() not in text:
        text += ours.recv(1 << 16)
    assert text.decode().splitlines() == [f"{number:099}" for number in range(5000)]
    output.close()
    ours.close()
    theirs.close()


@pytest.mark.skipif(os.getuid() != 0, reason="takes an account to change from")
def test_a_pipe_of_another_user_is_looked_at_before_it_is_written_to(pipe: Pipe) -> None:
    """It cannot be opened again, as after su."""
    program = """
import os
from dueq.core.telemetry.log_output import Output
os.setuid(65534)
output, lost = Output(lambda lost: f"lost {lost}", 2), []
assert not output._is_pipe
output.count_with(lost.append)
for number in range(2000):
    output.write(f"{number:099}")
output.close()
print(int(sum(lost)))
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, stderr=pipe.writing, stdout=subprocess.PIPE, check=True, timeout=60)
    kept = 2000 - int(done.stdout)
    assert 500 < kept < 700
    assert pipe.read_until(f"{kept - 1:099}\n") == [f"{number:099}" for number in range(kept)]


def test_a_forked_child_writes_what_is_its_own_and_counts_nowhere(pipe: Pipe) -> None:
    program = """
import os, sys, time
from dueq.core.telemetry import log_output
output = log_output.stderr(lambda lost: f"lost {lost}")
counted = []
output.count_with(counted.append)
number = 0
while not output._queue:
    output.write(f"parent {number:99}")
    number += 1
if (child := os.fork()) == 0:
    output.write(f"child {0:100}")
    output.close()
    os._exit(len(counted))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), number, flush=True)
"""
    # from Python 3.12 on, it warns of a fork beside threads on that very pipe, and waits for who reads it
    python = [sys.executable, "-W", "ignore::DeprecationWarning"]
    writer = subprocess.Popen([*python, "-c", program], stderr=pipe.writing, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    status, number = map(int, writer.stdout.readline().split())
    assert status == 0, "it has not counted its line, which found no room"
    lines = pipe.read_until(f"parent {number - 1:99}")
    writer.wait(10)
    writer.stdout.close()
    assert lines == [f"parent {each:99}" for each in range(number)]
