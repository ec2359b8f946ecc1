"""Files of a directory that belongs to this user alone: never through a link, never another user's.

Before such a directory was closed to others, or where it was unpacked from an archive, another user may have left links
in it, so that we write elsewhere, or a forged file. So each file is opened by its name within the open directory,
without following links, and looked at before it is read or written.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import EmbeddedServerError


def open_file(directory: Path, name: str, flags: int) -> int:
    """A descriptor of our own file ``name`` in ``directory``. Raises EmbeddedServerError if it is not ours, OSError if
    it cannot be opened."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _require(directory, os.fstat(folder))
        _require_if_there(directory, name, folder)
        # O_NONBLOCK: opening a pipe would wait for its other end
        safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags & ~os.O_TRUNC | safe, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        _require(directory / name, os.fstat(file))
        if flags & os.O_TRUNC:
            os.ftruncate(file, 0)
        os.set_blocking(file, True)
    except BaseException:
        os.close(file)
        raise
    return file


def read(directory: Path, name: str) -> bytes:
    """What our own file ``name`` holds. Raises EmbeddedServerError if it is not ours, OSError if there is none."""
    with os.fdopen(open_file(directory, name, os.O_RDONLY), "rb") as file:
        return file.read()


def write(directory: Path, name: str, data: bytes) -> None:
    """Make our own file ``name`` hold ``data``. Raises EmbeddedServerError if it is not ours, or OSError."""
    with os.fdopen(open_file(directory, name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(data)


def require_all(directory: Path) -> None:
    """Raise EmbeddedServerError unless everything in ``directory``, at any depth, is ours and no link."""
    _require(directory, directory.lstat())
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                _require(Path(entry.path), entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue  # the server removed it meanwhile
            if entry.is_dir(follow_symlinks=False):
                require_all(Path(entry.path))


def _require_if_there(directory: Path, name: str, folder: int) -> None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    _require(directory / name, found)


def _require(path: Path, found: os.stat_result) -> None:
    if trouble := _trouble(found):
        raise EmbeddedServerError(
            f"{path} {trouble}, so dueq does not touch it: see how it came there and remove it, or choose another "
            f"directory with DUEQ_DIR"
        )


def _trouble(found: os.stat_result) -> str:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if found.st_uid != os.geteuid():
        return f"belongs to another user (uid {found.st_uid})"
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        return "is a file with other names elsewhere (a hard link)"
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) or stat.S_ISSOCK(found.st_mode)):
        return "is neither a file, a folder nor a socket"
    return ""
