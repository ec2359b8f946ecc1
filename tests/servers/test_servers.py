"""The servers themselves: each starts, is what its name says, keeps data if it should, and leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from redis.exceptions import ResponseError
from support import short
from support.servers import Server, all_servers, running, server_parameters

from dueq.core.client.connection import connect, server_version
from dueq.core.client.embedded import _packaged_binary

each_server = pytest.mark.parametrize("server", server_parameters())


def any_server() -> Server:
    return next(server for server in all_servers() if isinstance(server, Server))


@each_server
def test_it_is_what_its_name_says(server: Server, tmp_path: Path) -> None:
    with running(server, tmp_path) as url:
        client = connect(url)
        info: Any = client.info()
        program, version = server.name.split("-")
        assert info[f"{program}_version"] == version
        assert server_version(client) == server.version
        client.close()


@each_server
def test_its_options_count_and_nothing_is_left(server: Server, tmp_path: Path) -> None:
    with running(server, tmp_path, "hz 50", 'rename-command ECHO ""') as url:
        client = connect(url)
        info: Any = client.info()
        assert client.config_get("hz") == {"hz": "50"}
        with pytest.raises(ResponseError, match="unknown command"):
            client.echo("x")
        client.close()
    assert not psutil.pid_exists(info["process_id"])
    assert not Path(urlsplit(url).path).parent.exists()


@each_server
def test_what_it_keeps_is_there_for_the_next_start(server: Server, tmp_path: Path) -> None:
    for count in (1, 2):
        with running(server, tmp_path, "appendonly yes") as url:
            client = connect(url)
            assert client.incr("starts") == count
            client.close()


def test_a_server_that_refuses_its_settings_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nonsense"), running(any_server(), tmp_path, "nonsense 1"):
        pass


def test_a_stopped_server_is_ended_too(tmp_path: Path) -> None:
    with running(any_server(), tmp_path) as url:
        client = connect(url)
        info: Any = client.info()
        client.close()
        psutil.Process(info["process_id"]).suspend()
    assert not psutil.pid_exists(info["process_id"])


def test_the_embedded_server_is_among_them() -> None:
    assert _packaged_binary() in [server.binary for server in all_servers() if isinstance(server, Server)]


def test_what_a_killed_test_left_goes_with_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "dueq-t-left"
    left.mkdir()
    (left / "s").touch()
    others = tmp_path / "dueq-other"
    others.mkdir()
    with short.short_directory() as mine:
        fresh = tmp_path / "dueq-t-fresh"
        fresh.mkdir()
        for old in (left, others, mine):
            os.utime(old, (0, 0))
        short.sweep()
        assert {*tmp_path.iterdir()} == {others, mine, fresh}
    assert {*tmp_path.iterdir()} == {others, fresh}
