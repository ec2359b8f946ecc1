"""What is cut off an append-only file is known to the byte: whose records it touched, and whose scheduling is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from dueq.chaos.append_only import AppendOnly, difference
from dueq.core.client.connection import connect
from dueq.core.client.embedded import EmbeddedServer
from dueq.core.schema.record import Record, encode_record
from dueq.core.schema.states import State

KEY = "dueq:{x}:r:000"


def raw(task_id: str) -> bytes:
    return encode_record(Record(task_id, State.SCHEDULED, 1, "q", 0, 0, 0, "", 0, 0, "", b"[]"))


def test_what_is_cut_off_is_what_redis_does_not_know_afterwards(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "redis")
    with AppendOnly(server.directory) as file:
        client: Any = connect(server.start())
        try:
            client.hset(KEY, mapping={name: raw(name) for name in ("old", "ended")})
            time.sleep(0.6)
            pipe = client.pipeline(transaction=True)
            pipe.hset(KEY, "new", raw("new")).hset(KEY, "old", raw("old")).hdel(KEY, "ended").set("dueq:{x}:token", 1)
            pipe.execute()
            client.hsetnx(KEY, "gone", raw("gone"))
            client.hdel(KEY, "gone")
            time.sleep(0.1)
            pid = server.pid()
            assert pid is not None
            os.kill(pid, 9)
            while server.pid() is not None:
                time.sleep(0.005)
            cut = file.cut(0.4)
            assert cut.touched == {"new", "old", "ended", "gone"}
            assert cut.scheduled == {"new", "gone"}
            assert cut.writes >= 6
            server.start()
            assert set(client.hgetall(KEY)) == {b"old", b"ended"}
        finally:
            client.connection_pool.disconnect()
            server.stop()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_of_half_a_transaction_nothing_is_there(kept: float) -> None:
    commands = [["MULTI"], ["HSET", KEY, "a", "1|"], ["HDEL", KEY, "b"], ["EXEC"]]
    first, step = wire(["HSET", KEY, "b", "1|"]), b"".join(wire(command) for command in commands)
    cut = difference(first + step, len(first) + int(kept * len(step)))
    assert (cut.writes, cut.touched, cut.scheduled) == (4, {"a", "b"}, {"a"})
    assert difference(first + step, len(first + step)).writes == 0


def wire(words: list[str]) -> bytes:
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)])
