"""The basis of the proof that dueq needs only Redis 2.4: its catalogue rejects everything that is newer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.exceptions import ResponseError
from support.servers import Server, all_servers, running
from support.since import Catalogue, recorded

from dueq.core.client.connection import connect

NEW = next((one for one in all_servers() if isinstance(one, Server) and one.name == "redis-8.2.3"), None)
pytestmark = [pytest.mark.long, pytest.mark.skipif(NEW is None, reason="no redis-8.2.3")]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert NEW is not None
    with running(NEW, tmp_path_factory.mktemp("new")) as url:
        yield url


@pytest.fixture(scope="module")
def catalogue(url: str) -> Catalogue:
    return Catalogue(connect(url))


@pytest.mark.parametrize(
    "command",
    [
        "EVAL x 0",
        "TIME",
        "SET k v EX 1",
        "set k v px 1",
        "SET k v NX",
        "EXISTS a b",
        "HSET k f v f2 v2",
        "HELLO 2",
        "BLPOP k 0.5",
        "BRPOP k l 0.5",
        "BRPOPLPUSH k l 0.5",
        "CLIENT SETINFO LIB-NAME x",
        "CLIENT SETNAME x",
        "CLIENT KILL TYPE normal",
        "SCAN 0",
        "SPOP k 2",
        "SRANDMEMBER k 2",
        "LPOP k 2",
        "EXPIRE k 1 NX",
        "ZADD k NX 1 a",
        "ZRANGE k 0 1 BYSCORE",
        "INFO commandstats",
        "PING x",
        "AUTH user password",
        "CONFIG GET a b",
        "CONFIG REWRITE",
        "SCRIPT LOAD x",
        "PEXPIRE k 1",
        "OBJECT FREQ k",
        "NONSENSE k",
    ],
)
def test_what_is_newer_is_found(catalogue: Catalogue, command: str) -> None:
    assert catalogue.complaint(command.split())


@pytest.mark.parametrize(
    "command",
    [
        "SET k v",
        "EXISTS a",
        "HSET k f v",
        "HMSET k f v g w",
        "BLPOP k l 1",
        "BRPOPLPUSH k l 1",
        "SADD k a b",
        "LPUSH k a b",
        "RPUSH k a b",
        "HDEL k f g",
        "ZADD k 1 a 2 b",
        "ZREM k a b",
        "ZRANGE k 0 1 WITHSCORES",
        "ZRANGEBYSCORE k -inf (5 WITHSCORES LIMIT 0 10",
        "ZCOUNT k -inf +inf",
        "WATCH a b",
        "MULTI",
        "EXEC",
        "INFO",
        "CONFIG GET a",
        "CLIENT LIST",
        "LRANGE k 0 1",
        "LREM k 0 x",
        "SPOP k",
        "EXPIRE k 1",
        "SETEX k 1 v",
        "ZINTERSTORE d 2 a b AGGREGATE MAX",
        "SORT k BY n LIMIT 0 1 GET x ALPHA",
    ],
)
def test_what_is_old_is_not(catalogue: Catalogue, command: str) -> None:
    assert catalogue.complaint(command.split()) == ""


@pytest.mark.parametrize(
    ("name", "old"),
    [("get", True), ("config|get", True), ("client|list", True), ("auth", True)]
    + [(name, False) for name in ("hello", "client|setinfo", "client|setname", "config|rewrite", "eval", "nonsense")],
)
def test_names_of_the_statistics_are_known(catalogue: Catalogue, name: str, old: bool) -> None:
    assert catalogue.knows(name) is old


def test_a_recording_has_what_monitor_shows_and_hides(url: str) -> None:
    client = connect(url)
    with recorded(client) as recording:
        client.set('a "quoted" key', b"\x00\xff] ")
        client.config_get("hz")
        with pytest.raises(ResponseError):
            client.execute_command("GETSET", "refused")  # type: ignore[no-untyped-call]
    assert recording.commands[0][0] == "SET"
    assert len(recording.commands[0]) == 3
    assert recording.hidden() == {"config|get": 1, "getset": 1}
    client.close()
