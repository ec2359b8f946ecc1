"""The lock that says that a supervisor is gone: who gets it, and which files prove nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dueq.core.process.state_lock import FreeLock, StateLock, default_state_directory, free_locks, names

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells one boot from another")

FACTS = {"supervisor": "supervisor.here.1.abc", "namespace": "n"}
_HOLDER = """
import os, sys, time
from pathlib import Path
from dueq.core.process.state_lock import StateLock
lock = StateLock(Path(sys.argv[1]), "theirs", {"supervisor": "supervisor.here.1.abc", "namespace": "n"})
os.register_at_fork(after_in_child=lock.let_go)
if len(sys.argv) == 2 or not os.fork():  # the fork says it: before its first code, it has the file open
    print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def gone(tmp_path: Path) -> Path:
    """The file of a supervisor that was killed."""
    holder = _hold(tmp_path)
    holder.kill()
    holder.wait()
    return tmp_path / "theirs.dueq-lock"


def _hold(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _HOLDER, str(directory), *arguments]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def _free(directory: Path, **facts: str) -> list[FreeLock]:
    return list(free_locks(directory, names(directory), facts or {"namespace": "n"}))


def _rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    holder = _hold(tmp_path, "with a fork")
    yield holder
    os.killpg(holder.pid, signal.SIGKILL)
    holder.wait()


def test_one_that_lives_or_is_stopped_holds_it_and_its_fork_does_not(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert _free(tmp_path) == []
    holder.send_signal(signal.SIGSTOP)
    assert _free(tmp_path) == []
    holder.kill()
    holder.wait()
    [free] = _free(tmp_path)
    assert FACTS.items() <= free.facts.items()
    assert _free(tmp_path) == [], "it is ours now"
    free.let_go()
    [free] = _free(tmp_path)
    free.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_of_another_namespace_stays_for_those_of_that(tmp_path: Path, gone: Path) -> None:
    assert _free(tmp_path, namespace="other") == []
    assert _free(tmp_path, namespace="n", redis="elsewhere") == []
    assert len(_free(tmp_path)) == 1


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\x00\xff", '{"boot": 1}', '{"format": 2, "boot": "x"}'])
def test_what_cannot_be_read_is_left_alone(tmp_path: Path, gone: Path, content: str) -> None:
    gone.write_bytes(content.encode("latin-1"))
    assert _free(tmp_path) == []
    assert gone.exists()


def test_a_copy_proves_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    shutil.copy2(tmp_path / "theirs.dueq-lock", tmp_path / "copy.dueq-lock")
    (tmp_path / "link.dueq-lock").symlink_to("copy.dueq-lock")
    (tmp_path / "folder.dueq-lock").mkdir()
    os.mkfifo(tmp_path / "pipe.dueq-lock")
    assert _free(tmp_path) == []


@pytest.mark.parametrize(("device", "proves"), [(1, False), (None, True)], ids=["a snapshot", "an overlay"])
def test_a_file_on_another_device_proves_nothing(tmp_path: Path, gone: Path, device: int | None, proves: bool) -> None:
    _rewrite(gone, device=device)
    assert len(_free(tmp_path)) == proves


def test_locks_of_other_programs_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "shop.lock").touch()
    assert names(tmp_path) == []


def test_what_another_boot_has_left_proves_nothing_and_is_removed(tmp_path: Path, gone: Path) -> None:
    _rewrite(gone, boot="another")
    assert _free(tmp_path, namespace="other") == []  # its namespace may be gone, too: nobody else would remove it
    assert not gone.exists()


def test_the_file_of_another_user_is_not_opened(tmp_path: Path, gone: Path) -> None:
    try:
        os.chown(gone, 12345, -1)
    except PermissionError:
        pytest.skip("only root can give files away")
    assert _free(tmp_path) == []


@pytest.mark.parametrize("place", ["file", "/proc/dueq", "/proc/self", "/sys/kernel"])
def test_a_directory_that_will_not_do_is_refused_with_the_reason(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"\w+"):
        StateLock(tmp_path / place, "mine", FACTS)
    assert names(tmp_path / place) == []


def test_a_lock_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.dueq-lock").mkdir()
    with pytest.raises(OSError, match="directory"):
        StateLock(tmp_path, "mine", FACTS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.dueq-lock"]


def test_where_it_is_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_state_directory() == tmp_path / ".local" / "state" / "dueq"
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert default_state_directory() == Path("/x/dueq")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/shop:/var/lib/other")
    assert default_state_directory() == Path("/var/lib/shop/dueq")
