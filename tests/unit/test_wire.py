"""Commands that are sent at once and answered later."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import ConnectionError, ResponseError

from dueq.core.connection import COMMANDS, connect
from dueq.core.wire import Wire


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = connect(redis_url)
    yield client
    client.delete("wire")
    client.connection_pool.disconnect()


def test_answers_come_in_order_and_commands_are_done_before_they_are_read(client: redis.Redis) -> None:
    wire, before = Wire(client), COMMANDS.sent
    for number in range(50):
        wire.send("RPUSH", "wire", number, "text", b"bytes")
    assert wire.is_open
    assert COMMANDS.sent - before >= 50
    assert [wire.receive() for _ in range(50)] == [3 * (number + 1) for number in range(50)]
    assert client.lrange("wire", 0, 2) == [b"0", b"text", b"bytes"]
    wire.close()
    assert not wire.is_open


def test_an_error_is_an_answer_like_any_other(client: redis.Redis) -> None:
    wire = Wire(client)
    wire.send("SET", "wire", "text")
    wire.send("LPUSH", "wire", "more")
    wire.send("GET", "wire")
    assert wire.receive() == b"OK"
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        wire.receive()
    assert wire.receive() == b"text"
    wire.close()


def test_a_connection_that_somebody_closes_is_not_opened_anew_behind_its_back(client: redis.Redis) -> None:
    """Else the answers of the new one would be taken for those that the old one owes."""
    wire = Wire(client)
    wire.send("SET", "wire", "old")
    client.connection_pool.disconnect()
    with pytest.raises(ConnectionError):
        wire.send("GET", "wire")
    assert not wire.is_open
    wire.send("GET", "wire")
    assert wire.receive() == b"old"
    client.connection_pool.disconnect()
    with pytest.raises(ConnectionError):
        wire.receive()
    assert not wire.is_open


def test_closing_gives_the_connection_back(client: redis.Redis) -> None:
    wire = Wire(client)
    for _ in range(3):
        wire.send("GET", "wire")  # not answered: the next command must not get its answer
        wire.close()
    assert client.get("wire") is None
