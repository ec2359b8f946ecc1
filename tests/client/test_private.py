"""Files that must not be trusted: links, other users' files, and things that are not files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dueq.core.client.embedded import EmbeddedServer
from dueq.core.errors import EmbeddedServerError
from dueq.core.process import private_files

NOBODY = 65534
NAMES = ["lock", "redis.conf", "redis.log", "redis.pid", "socket-path", "appendonlydir", "redis.sock", "dump.rdb"]


def _link(at: Path, precious: Path) -> None:
    at.symlink_to(precious)


def _dangling_link(at: Path, precious: Path) -> None:
    at.symlink_to(precious.with_name("not-yet"))


def _hard_link(at: Path, precious: Path) -> None:
    os.link(precious, at)


def _pipe(at: Path, precious: Path) -> None:
    os.mkfifo(at)


def _foreign(at: Path, precious: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    at.touch()
    os.chown(at, NOBODY, NOBODY)


def _folder_with_link(at: Path, precious: Path) -> None:
    at.mkdir()
    (at / "inner").symlink_to(precious)


PLANTS = [_link, _dangling_link, _hard_link, _pipe, _foreign, _folder_with_link]


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_nothing_planted_is_written_through(
    tmp_path: Path, plant: Callable[[Path, Path], None], name: str, mode: int
) -> None:
    """Whether the directory was open until now, or was closed when it was too late."""
    precious, directory = tmp_path / "precious", tmp_path / "d"
    precious.write_text("mine")
    directory.mkdir()
    (directory / "lock").touch()
    (directory / name).unlink(missing_ok=True)
    plant(directory / name, precious)
    directory.chmod(mode)
    server = EmbeddedServer(directory)
    with pytest.raises(EmbeddedServerError, match=r"does not touch it|holds other files"):
        server.start()
    assert precious.read_text() == "mine"
    assert not (tmp_path / "not-yet").exists()
    for ask in (server.running, server.pid, server.stop):
        with contextlib.suppress(EmbeddedServerError):
            assert not ask()
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("plant", PLANTS)
def test_files_are_opened_only_if_they_are_ours(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    """Also one that was put there after all was looked at."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "d"
    folder.mkdir()
    plant(folder / "redis.conf", precious)
    with pytest.raises((EmbeddedServerError, IsADirectoryError)):
        private_files.write(folder, "redis.conf", b"changed")
    with pytest.raises((EmbeddedServerError, IsADirectoryError)):
        private_files.read(folder, "redis.conf")
    assert precious.read_text() == "mine"


def test_a_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="d"):
        private_files.write(tmp_path / "link", "redis.conf", b"x")
    assert list((tmp_path / "real").iterdir()) == []


def test_a_socket_path_that_somebody_wrote_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make dueq empty a folder of the user's own."""
    keys = tmp_path / "ssh"
    keys.mkdir(mode=0o700)
    (keys / "id").write_text("mine")
    directory = tmp_path / ("d" * 100)
    directory.mkdir(mode=0o700)
    (directory / "lock").touch()
    (directory / "socket-path").write_text(str(keys / "redis.sock"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = EmbeddedServer(directory)
    for act in (server.start, server.stop):
        with pytest.raises(EmbeddedServerError, match="socket-path"):
            act()
    assert (keys / "id").read_text() == "mine"
