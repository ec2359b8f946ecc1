"""Connections that are kept between uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from dueq.core.connection import Lines, connect


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    client = connect(redis_url)
    yield client
    client.connection_pool.disconnect()


def _ask(lines: Lines) -> int:
    """The id that Redis gave the connection."""
    connection = lines.take()
    try:
        connection.send_command("CLIENT", "ID")
        return int(connection.read_response())
    finally:
        lines.give_back(connection)


def test_a_connection_is_used_again(client: Any) -> None:
    lines = Lines(client)
    assert _ask(lines) == _ask(lines)


def test_two_at_once_do_not_share_one(client: Any) -> None:
    lines = Lines(client)
    first = lines.take()
    other = _ask(lines)
    lines.give_back(first)
    assert _ask(lines) != other


def test_one_that_the_server_closed_is_opened_again(client: Any) -> None:
    lines = Lines(client)
    before = _ask(lines)
    client.client_kill_filter(_id=before)
    assert _ask(lines) != before


def test_one_with_an_answer_that_nobody_asked_for_is_opened_again(client: Any) -> None:
    lines = Lines(client)
    connection = lines.take()
    connection.send_command("ECHO", "late")
    lines.give_back(connection)
    while not connection.can_read(0.1):
        pass
    assert _ask(lines) > 0


def test_closing_the_pool_closes_them(client: Any) -> None:
    lines = Lines(client)
    before = _ask(lines)
    client.connection_pool.disconnect()
    assert all(int(other["id"]) != before for other in client.client_list())
    assert _ask(lines) != before


def test_without_a_server_they_come_back_with_it(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines(client)
    connection = lines.take()
    lines.give_back(connection)
    connection.disconnect()
    with monkeypatch.context() as away:
        away.setattr(connection, "path", "/nowhere/redis.sock")
        with pytest.raises(ConnectionError, match="No such file"):
            lines.take()
    assert _ask(lines) > 0


def test_a_forked_child_has_its_own(client: Any) -> None:
    lines = Lines(client)
    ours = _ask(lines)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, str(_ask(lines)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    theirs = int(os.read(reading, 64))
    os.close(reading)
    assert theirs != ours
    assert _ask(lines) == ours
