"""If the server refuses before it does anything, nothing is scheduled; the error says so, or says that it is unsure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.limited import limited
from support.servers import Server, all_servers, free_port, running

from dueq import Dueq
from dueq.core.client.connection import connect
from dueq.core.errors import DueqError, ServerRefused, ServerUnavailable

FAR = 4_000_000_000.0


@pytest.fixture
def own_server(server: Server, tmp_path: Path) -> Iterator[str]:
    with running(server, tmp_path) as url:
        yield url


def out_of_memory(admin: Any) -> None:
    admin.config_set("maxmemory", 1)


def replica(admin: Any) -> None:
    admin.replicaof("127.0.0.1", free_port())


def without_replicas(admin: Any) -> None:
    admin.config_set("min-replicas-to-write", 1)


REFUSALS: dict[str, tuple[Callable[[Any], None], Callable[[Any], None], str]] = {
    "OOM": (out_of_memory, lambda admin: admin.config_set("maxmemory", 0), "free some or raise it, then try again"),
    "READONLY": (replica, lambda admin: admin.replicaof("NO", "ONE"), "point dueq at the primary"),
    "NOREPLICAS": (
        without_replicas,
        lambda admin: admin.config_set("min-replicas-to-write", 0),
        "NOREPLICAS",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_of_writes_says_that_nothing_was_written(own_server: str, strategy_name: str, refusal: str) -> None:
    refuse, allow, advice = REFUSALS[refusal]
    app, admin = Dueq(own_server, strategy=strategy_name), connect(own_server)
    app.schedule_task(FAR, "x", id="before")
    task = app.task(name="f")(lambda: None)
    many = [task.call_at(FAR, id=f"m{n}")() for n in range(2500)]
    refuse(admin)
    with pytest.raises(ServerRefused, match=advice) as one:
        app.schedule_task(FAR, "x", id="a")
    with pytest.raises(ServerRefused, match=advice) as all_:
        app.schedule_many(many)
    fresh = Dueq(own_server, namespace="another", strategy=strategy_name)
    with pytest.raises(ServerRefused, match=advice) as first:
        fresh.schedule_task(FAR, "x", id="a")
    allow(admin)
    for caught in (one, first):
        assert "task a is not scheduled, nothing was written: with id='a' it is safe to ask again" in str(caught.value)
    assert "0 of 2,500 tasks are scheduled (error.handles), nothing was written" in str(all_.value)
    assert all(caught.value.untouched for caught in (one, all_, first))
    assert all_.value.handles == ()
    assert app.schedule_task(FAR, "x", id="a").created
    assert fresh.schedule_task(FAR, "x", id="a").created
    assert all(handle.created for handle in app.schedule_many(many))


def test_of_many_the_first_ones_are_known(own_server: str, strategy_name: str) -> None:
    app, admin = Dueq(own_server, strategy=strategy_name), connect(own_server)
    app.schedule_task(FAR, "x", id="before")
    used = admin.info("memory")["used_memory"]
    admin.config_set("maxmemory", used + 4_000_000)
    task = app.task(name="f")(lambda text: None)
    many = [task.call_at(FAR, id=f"m{n}")("x" * 20_000) for n in range(900)]
    with pytest.raises(ServerRefused) as caught:
        app.schedule_many(many)
    admin.config_set("maxmemory", 0)
    there = [handle.id for handle in caught.value.handles]
    assert there == [call.id for call in many[: len(there)]]
    assert 0 < len(there) < 900
    rest = [handle.created for handle in app.schedule_many(many)]
    assert not any(rest[: len(there)])
    if caught.value.untouched:
        assert f"{len(there):,} of 900 tasks are scheduled (error.handles), of the others none" in str(caught.value)
        assert all(rest[len(there) :])
    else:
        assert "that is not known" in str(caught.value)


def test_a_server_that_is_not_there_has_written_nothing(strategy_name: str) -> None:
    app = Dueq(f"redis://127.0.0.1:{free_port()}", strategy=strategy_name)
    with pytest.raises(ServerUnavailable, match="task a is not scheduled, nothing was written") as caught:
        app.schedule_task(FAR, "x", id="a")
    assert caught.value.untouched


def test_a_permission_that_is_missing_may_be_missed_half_way(tmp_path: Path) -> None:
    server = next(one for one in all_servers() if isinstance(one, Server))
    with running(server, tmp_path) as url:
        user = limited(url, "half", ["lua"])
        admin: Any = connect(url)
        name = user.split("://", 1)[1].split(":", 1)[0]
        admin.execute_command("ACL", "SETUSER", name, "-zadd")
        with pytest.raises(DueqError) as caught:
            Dueq(user, namespace="half", strategy="lua").schedule_task(FAR, "x", id="a")
        assert not caught.value.untouched
        assert "whether task a is scheduled is not known" in str(caught.value)
