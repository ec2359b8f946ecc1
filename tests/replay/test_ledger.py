"""The ledger: whole lines from many processes, through SIGKILL, and a reader that trusts only whole lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import wait_until

from dueq.harness.ledger import FILE_NAME, Entry, Finish, Ledger, LedgerReader, Start, parse

WRITER = """
import os, sys
from itertools import count
from pathlib import Path
from dueq.harness.ledger import Entry, Finish, Ledger, Start
name, most, ledger = sys.argv[1], int(sys.argv[2]), Ledger(Path(sys.argv[3]))
for n in range(most) if most else count():
    ledger.start(Start(f"{name}-{n}", n, n + 1, n + 2, 1, os.getpid()))
    ledger.finish(Finish(f"{name}-{n}", n + 3, n + 2, os.getpid()))
"""


def writer(name: str, most: int, directory: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", WRITER, name, str(most), str(directory)], env=environment)


def test_lines_of_concurrent_writers_stay_whole(tmp_path: Path) -> None:
    writers = [writer(f"w{number}", 3000, tmp_path) for number in range(4)]
    reader = LedgerReader(tmp_path)
    read: list[Entry] = []
    while any(process.poll() is None for process in writers):
        read += reader.read()
    read += reader.read()
    assert [process.returncode for process in writers] == [0] * 4
    assert (reader.garbled, reader.torn) == (0, False)
    for number, process in enumerate(writers):
        mine = [entry for entry in read if entry.pid == process.pid]
        expected: list[Entry] = []
        for n in range(3000):
            expected.append(Start(f"w{number}-{n}", n, n + 1, n + 2, 1, process.pid))
            expected.append(Finish(f"w{number}-{n}", n + 3, n + 2, process.pid))
        assert mine == expected


def test_killed_writers_leave_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    writers = [writer(f"w{number}", 0, tmp_path) for number in range(3)]
    try:
        wait_until(lambda: file.exists() and file.stat().st_size > 200_000, timeout=30)
    finally:
        for process in writers:
            process.send_signal(signal.SIGKILL)
    assert [process.wait() for process in writers] == [-signal.SIGKILL] * 3
    reader = LedgerReader(tmp_path)
    entries = list(reader.read())
    assert (reader.garbled, reader.torn) == (0, False)
    for process in writers:
        mine = [entry for entry in entries if entry.pid == process.pid]
        kinds = [type(entry) for entry in mine]
        assert kinds == [(Start, Finish)[n % 2] for n in range(len(kinds))]


def test_reader_waits_for_the_rest_of_a_torn_line(tmp_path: Path) -> None:
    reader = LedgerReader(tmp_path)
    assert list(reader.read()) == []  # no file yet
    file = tmp_path / FILE_NAME
    file.write_bytes(b"S a 1 2 3 4 5 -\nF a 9")
    assert list(reader.read()) == [Start("a", 1, 2, 3, 4, 5)]
    assert reader.torn
    with file.open("ab") as more:
        more.write(b"0 3 5\nnonsense\n")
    assert list(reader.read()) == [Finish("a", 90, 3, 5)]
    assert (reader.garbled, reader.torn) == (1, False)
    assert list(reader.read()) == []


@pytest.mark.parametrize(
    "line", [b"", b"S", b"S a 1 2 3 4 5", b"F a 1 2 3 4", b"Y a 1 2 3", b"S a 1 2 3 4 five -", b"\xff a"]
)
def test_what_is_no_entry(line: bytes) -> None:
    assert parse(line) is None


@pytest.mark.parametrize("task_id", ["", "two words", "two\nlines", "x" * 201])
def test_id_that_would_break_the_line_is_refused(tmp_path: Path, task_id: str) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(ValueError, match="does not fit"):
        ledger.finish(Finish(task_id, 1, 2, 3))
    ledger.close()


def test_short_write_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    monkeypatch.setattr("os.write", lambda file, data: len(data) - 1)
    with pytest.raises(OSError, match="is the disk full"):
        ledger.finish(Finish("a", 1, 2, 3))
