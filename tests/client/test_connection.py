"""Clients; and credentials never get into messages."""

from __future__ import annotations

import time

import pytest
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    DataError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from dueq.core.client.connection import connect
from dueq.core.client.failures import Patience, explained
from dueq.core.client.redaction import redact
from dueq.core.errors import ConfigurationError, DueqError, ServerRefused, ServerUnavailable

SECRETS = [
    "redis://:s3cret@host:6379/0",
    "redis://user:s3cret@host",
    "rediss://user:s3cret@[::1]:6379/0?ssl_cert_reqs=none",
    "redis://user:s3%40cret@host/1",
    "redis://user:s3cret@pass@host/1",
    "redis://user:s3/cret@host/1",
    "unix://user:s3cret@/tmp/redis.sock",
    "unix:///tmp/redis.sock?password=s3cret",
    "unix:///tmp/redis.sock?db=1&password=s3cret",
    "redis://host?password=s3cret&db=1",
    "redis://host?username=s3cret",
    "REDIS://:s3cret@host",
    "two: redis://:s3cret@a and redis://b:s3cret@c",
    "cannot reach 'redis://:s3cret@host'",
]


@pytest.mark.parametrize("text", SECRETS)
def test_redacted(text: str) -> None:
    shown = redact(text)
    assert "s3" not in shown
    assert "cret" not in shown
    assert "***" in shown


@pytest.mark.parametrize("text", ["redis://host:6379/0", "unix:///tmp/a.sock?db=1", "mail me@example.com", "plain", ""])
def test_nothing_to_redact(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "url", ["http://:s3cret@host", "host", "redis://:s3cret@host:port", "redis://:s3cret@h/0?db=x"]
)
def test_no_addresses(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionError("refused"), ServerUnavailable),
        (AuthenticationError("WRONGPASS"), ServerRefused),
        (ReadOnlyError("x"), ServerRefused),
        (OutOfMemoryError("x"), ServerRefused),
        (ResponseError("MISCONF disk"), ServerRefused),
        (ResponseError("ERR something else"), ServerRefused),
        (ResponseError("WRONGTYPE Operation against a key"), ServerRefused),
        (NoPermissionError("this user has no permissions"), ServerRefused),
        (DataError("Invalid input"), ServerUnavailable),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), DueqError),
    ],
)
def test_errors_are_explained(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as caught, explained("redis://:s3cret@host"):
        raise error
    assert "s3cret" not in str(caught.value)
    if issubclass(expected, DueqError):
        assert "host" in str(caught.value)


def test_nobody_listens() -> None:
    client = connect("redis://127.0.0.1:1/0", timeout=1)
    with pytest.raises(ServerUnavailable), explained("redis://127.0.0.1:1/0"):
        client.ping()


def test_patience() -> None:
    patience = Patience(0.05, 1.0)
    assert [patience.failed() for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert patience.succeeded()
    assert not patience.succeeded()
    assert patience.failed() == 0.05
    for _ in range(5000):
        patience.failed()
    assert patience.failed() == 1.0


def test_redacting_a_huge_line_takes_no_time() -> None:
    began = time.monotonic()
    for line in ("x" * 200_000, "a://" * 50_000, "@" * 200_000):
        redact(line)
    assert time.monotonic() - began < 2
