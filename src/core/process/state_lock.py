"""The kernel's proof that a supervisor and all its processes are gone: an flock on a file that all of them have open.

A supervisor creates the file and locks it, and every child inherits the open file. The kernel releases the lock when
the last of these processes has ended, for whatever reason and in any pid namespace. A stopped process keeps the lock.
So a process that gets the lock knows that none of the others is left. Programs and forks of tasks close the file: they
may outlive the supervisor, and would keep its lock.

An flock holds between the processes of one kernel, on a local file system. So a directory on any other file system is
refused, and a file counts only if it was written since this kernel booted, and is not a copy.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from multiprocess import reduction

_FORMAT = 1
_SUFFIX = ".dueq-lock"  # the locks of other programs may lie beside it
_MOST_BYTES = 64 * 1024
_STOPPING = b"\nstopping"  # behind what the file says
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # opening a pipe would wait for its other end
_LOCAL = frozenset(["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "ramfs", "overlay"])
"""File systems whose files no other kernel has open, and which one kernel does not mount twice."""
_OCTAL = re.compile(r"\\([0-7]{3})")


def default_state_directory() -> Path:
    """``dueq`` in systemd's ``$STATE_DIRECTORY`` or in ``$XDG_STATE_HOME``, else ``~/.local/state/dueq``.

    Raises OSError if there is no home directory.
    """
    for variable in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        chosen = Path(os.environ.get(variable, "").partition(":")[0])
        if chosen.is_absolute():
            return chosen / "dueq"
    try:
        return Path.home() / ".local" / "state" / "dueq"
    except RuntimeError:
        raise FileNotFoundError(errno.ENOENT, "there is no home directory") from None


class StateLock:
    """The lock of one supervisor. Each child gets it as part of its order."""

    def __init__(self, directory: Path, name: str, facts: Mapping[str, str]) -> None:
        """Create the file ``name`` with ``facts`` in it, and hold its lock.

        Raises OSError, with the reason, if ``directory`` cannot be used for locks.
        """
        boot = _boot()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        kind = _local_file_system(directory)
        self.directory, self._path = directory, directory / f"{name}{_SUFFIX}"
        self._stopping = False
        part = directory / f".{name}.part"
        self._fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = _identity(self._fd)
            device, inode = self._file
            # of a container that is started again, the overlay may be another device
            place = {"inode": inode, "device": None if kind == "overlay" else device}
            whole = {"format": _FORMAT, "boot": boot, **place, **facts}
            os.write(self._fd, json.dumps(whole).encode())
            part.rename(self._path)  # so that other processes see the file only whole and locked
        except BaseException:
            os.close(self._fd)
            with suppress(OSError):
                part.unlink()
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {"fd": reduction.DupFd(self._fd), "file": self._file, "path": self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fd, self._file, self._path = state["fd"].detach(), state["file"], state["path"]
        self.directory = self._path.parent
        os.set_inheritable(self._fd, False)  # programs that tasks start must not get it

    def let_go(self) -> None:
        """In a fork: close the file, so that the fork does not keep the lock."""
        with suppress(OSError):
            if _identity(self._fd) == self._file:  # else this descriptor is another file by now
                os.close(self._fd)

    def note_stop(self) -> None:
        """Note that the supervisor has been asked to stop: if all is killed from now on, it took too long."""
        if not self._stopping:
            self._stopping = True
            with suppress(OSError):
                os.write(self._fd, _STOPPING)

    def remove(self) -> None:
        """Remove the file and release the lock: no child is left, and nothing has to be given back."""
        with suppress(OSError):
            self._path.unlink()
        os.close(self._fd)


class FreeLock:
    """The lock of a supervisor that is gone with all its processes. This process alone holds it now."""

    def __init__(self, path: Path, fd: int, facts: Mapping[str, str], was_stopping: bool) -> None:
        self.facts = facts
        self.was_stopping = was_stopping
        """Whether the supervisor had been asked to stop before it was gone."""
        self._path, self._fd = path, fd

    def remove(self) -> None:
        """Remove the file, then release the lock: all that the supervisor held is given back."""
        with suppress(OSError):
            self._path.unlink()
        self.let_go()

    def let_go(self) -> None:
        """Release the lock and leave the file, for another process to find."""
        os.close(self._fd)


def names(directory: Path) -> list[str]:
    """The file names of all locks in ``directory``, free or not; none if the directory cannot be read."""
    try:
        return sorted(entry for entry in os.listdir(directory) if entry.endswith(_SUFFIX))  # noqa: PTH208
    except OSError:
        return []


def free_locks(directory: Path, files: Iterable[str], facts: Mapping[str, str]) -> Iterator[FreeLock]:
    """Take the locks that no process holds and whose files have these ``facts``, of the ``files`` in ``directory``.

    Files of other users, files of a newer dueq and files that cannot be read are left alone. A file from another boot
    proves nothing, and is removed.
    """
    boot = _boot()
    for name in files:
        path = directory / name
        try:
            fd = os.open(path, os.O_RDWR | _SAFE)
        except OSError:
            continue
        written, was_stopping = _taken(fd)
        if written and written["boot"] == boot and facts.items() <= written.items():
            yield FreeLock(path, fd, written, was_stopping)
            continue
        if written and written["boot"] != boot:
            with suppress(OSError):
                path.unlink()
        os.close(fd)


def _taken(fd: int) -> tuple[dict[str, Any], bool]:
    """Take the lock of an open file; returns what the file says, and whether its supervisor was stopping.

    The file says nothing if the lock is held or the file is not valid.
    """
    nothing: tuple[dict[str, Any], bool] = {}, False
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return nothing
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = os.pread(fd, _MOST_BYTES, 0)
        written: Any = json.loads(content.removesuffix(_STOPPING))
    except (OSError, ValueError):
        return nothing
    if not isinstance(written, dict) or written.get("format") != _FORMAT or "boot" not in written:
        return nothing
    if (written.get("inode"), written.get("device") or found.st_dev) != (found.st_ino, found.st_dev):
        return nothing  # a copy, or a snapshot
    if not os.fstat(fd).st_nlink:  # just removed
        return nothing
    return written, content.endswith(_STOPPING)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


@cache
def _boot() -> str:
    """The id of this boot, the same in all containers of a host. Raises OSError if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        raise OSError(errno.ENOTSUP, "this system has no boot id") from None


def _local_file_system(directory: Path) -> str:
    """The type of the file system of ``directory``.

    Raises OSError if some processes that see the directory may not see its locks, as on network file systems.
    """
    kind = _file_system(Path(os.path.realpath(directory)))
    if kind not in _LOCAL:
        raise OSError(errno.ENOTSUP, f"the file system of {directory}, {kind or 'unknown'}, may not be local")
    return kind


def _file_system(directory: Path) -> str:
    """The type of the file system of ``directory``, as in proc(5); empty if it is unknown."""
    around = {str(place) for place in (directory, *directory.parents)}
    kind, longest = "", 0
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
        fields, _, rest = line.partition(" - ")
        if not rest:
            continue
        place = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields.split(" ")[4])
        if place in around and len(place) >= longest:  # of two at one place, the later lies on top
            kind, longest = rest.split(" ")[0], len(place)
    return kind
