"""Whatever the server replies, an application that calls dueq gets a DueqError that names the server."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import redis

from dueq import Dueq, DueqError
from dueq.core.client.connection import connect
from dueq.core.errors import ConfigurationError, ServerRefused
from dueq.core.schema.keys import Keys
from dueq.core.schema.quarantine import counts

_numbers = itertools.count()
ID = "one"


def _calls(app: Dueq) -> dict[str, Callable[[], object]]:
    return {
        "schedule": lambda: app.schedule_task(0, {"any": "data"}, id=ID),
        "cancel": lambda: app.cancel(ID),
        "reschedule": lambda: app.reschedule(ID, after=60),
    }


@pytest.fixture(params=_calls(Dueq()))
def call(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def namespace(redis_url: str, strategy_name: str) -> str:
    return f"errors{next(_numbers)}"


def _app(redis_url: str, namespace: str, strategy: str) -> Dueq:
    return Dueq(redis_url, namespace=namespace, strategy=strategy)


def test_a_database_that_is_not_there(redis_url: str, namespace: str, strategy_name: str, call: str) -> None:
    address = redis_url.replace("db=0", "db=99")
    with pytest.raises(ServerRefused, match="no database of that number"):
        _calls(_app(address, namespace, strategy_name))[call]()


def test_keys_of_another_program(redis_url: str, namespace: str, strategy_name: str, call: str) -> None:
    """Each key that a producer touches is of a wrong type in turn: the call makes room and gets on, or says why not."""
    client, keys = connect(redis_url), Keys(namespace)
    wrong = [*keys.singles(), keys.record(ID), keys.journal(ID), keys.timer(strategy_name, "default")]
    said, made_room = list[str](), list[str]()
    for key in wrong:
        app = _app(redis_url, namespace, strategy_name)
        app.schedule_task(4e9, 1, id=ID)
        client.delete(key)
        if key in (keys.plain("token"), keys.plain("guard")):
            client.rpush(key, "another program's")
        else:
            client.set(key, "another program's")
        try:
            before = client.type(key)
            _calls(app)[call]()
            made_room += [key] if client.type(key) != before else []
        except DueqError as error:
            said.append(str(error))
        finally:
            client.delete(*client.keys(keys.prefix + "*"))
    assert said or made_room, "some of them are in the way of every call"
    assert all("WRONGTYPE" in text and "namespace" in text for text in said)


def test_a_strategy_that_is_none(redis_url: str, namespace: str, strategy_name: str, call: str) -> None:
    """Advice to move the namespace there would lead nowhere."""
    _app(redis_url, namespace, strategy_name).schedule_task(4e9, 1, id=ID)
    try:
        with pytest.raises(ConfigurationError, match="there is no strategy 'wach': choose one of lua"):
            _calls(_app(redis_url, namespace, "wach"))[call]()
    finally:
        client = connect(redis_url)
        client.delete(*client.keys(Keys(namespace).prefix + "*"))


@pytest.mark.parametrize("used", [False, True])
def test_bytes_that_are_no_text_in_meta(
    redis_url: str, namespace: str, strategy_name: str, call: str, used: bool
) -> None:
    """They make room, be it that the namespace was in use before."""
    client, keys = connect(redis_url), Keys(namespace)
    app = _app(redis_url, namespace, strategy_name)
    if used:
        app.schedule_task(4e9, 1, id=f"{ID}-before")
    try:
        for field in ("strategy", "format", "features"):
            client.hset(keys.plain("meta"), field, b"\xff\xfe")
            _calls(app)[call]()
        assert counts(client, keys)["field"] == 3
    finally:
        client.delete(*client.keys(keys.prefix + "*"))


def test_a_user_who_may_not(redis_url: str, namespace: str, strategy_name: str, call: str) -> None:
    client: Any = connect(redis_url)
    client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection")
    try:
        with pytest.raises(ServerRefused, match="permission") as caught:
            _calls(_app(f"{redis_url}&username=reader&password=secret", namespace, strategy_name))[call]()
        assert "secret" not in str(caught.value)
        assert not isinstance(caught.value, redis.RedisError)
    finally:
        client.execute_command("ACL", "DELUSER", "reader")
