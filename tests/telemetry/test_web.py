"""The web page: metrics, and the two probes for restarts and routing."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import pytest
from support.waiting import wait_until

from dueq.core.config import Settings
from dueq.core.errors import ConfigurationError
from dueq.core.telemetry import http_server
from dueq.core.telemetry.collector import Collector
from dueq.core.telemetry.health import STILL_S, Health
from dueq.core.telemetry.http import serve
from dueq.core.telemetry.http_server import MOST_CONNECTIONS, Reply, Request, Server


class Facts:
    """What the health is asked from."""

    def __init__(self) -> None:
        self.processes = Counter({("worker", "ready"): 1, ("dispatcher", "ready"): 1})
        self.redis = True
        self.health = Health({"worker": 2, "dispatcher": 1}, lambda: self.processes, lambda: self.redis)


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector(Settings("redis://127.0.0.1:1", "shop"), "lua", ["default"], {})
    yield collector
    collector.own.close()


@pytest.fixture
def page(collector: Collector, facts: Facts) -> Iterator[str]:
    url, stop = serve(collector, facts.health, "127.0.0.1", 0)
    yield url.removesuffix("/metrics")
    stop()


def ask(url: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_metrics(page: str) -> None:
    for path in ("/metrics", "/"):
        with urllib.request.urlopen(page + path, timeout=10) as answer:
            assert 'dueq_redis_up{namespace="shop"} 0.0' in answer.read().decode()


def test_a_path_that_is_none_is_said_to_be_none(page: str) -> None:
    status, said = ask(page + "/metric")
    assert status == 404
    assert "/livez" in str(said["reasons"])


def test_well_and_ready(page: str) -> None:
    assert ask(page + "/livez") == (200, {"ok": True, "reasons": []})
    assert ask(page + "/readyz") == (200, {"ok": True, "reasons": []})


def test_redis_away_is_not_ready_but_alive(page: str, facts: Facts) -> None:
    facts.redis = False
    assert ask(page + "/readyz") == (503, {"ok": False, "reasons": ["Redis does not answer"]})
    assert ask(page + "/livez")[0] == 200


@pytest.mark.parametrize("role", ["worker", "dispatcher"])
def test_not_ready_without_a_process_of_each_role(page: str, facts: Facts, role: str) -> None:
    facts.processes[role, "ready"] = 0
    facts.processes[role, "booting"] = 1
    assert ask(page + "/readyz") == (503, {"ok": False, "reasons": [f"no {role} is ready"]})


def test_not_ready_while_stopping(page: str, facts: Facts) -> None:
    facts.health.tick(leaving=True)
    assert ask(page + "/readyz")[0] == 503
    assert ask(page + "/livez")[0] == 200


def test_not_alive_once_the_loop_stands_still(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.monotonic() + STILL_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert "stood still" in facts.health.not_live()[0]
    facts.health.tick(leaving=False)
    assert facts.health.not_live() == []


def test_an_address_in_use_or_unknown_is_refused(collector: Collector, facts: Facts) -> None:
    url, stop = serve(collector, facts.health, "127.0.0.1", 0)
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(ConfigurationError, match="--metrics-port 0"):
        serve(collector, facts.health, "127.0.0.1", port)
    stop()
    serve(collector, facts.health, "127.0.0.1", port)[1]()
    with pytest.raises(ConfigurationError, match="metrics page"):
        serve(collector, facts.health, "no.such.host.invalid", 0)


def test_head_is_get_without_the_body(page: str) -> None:
    for path, status in (("/metrics", 200), ("/livez", 200), ("/readyz", 200), ("/metric", 404)):
        replies = {}
        for method in ("GET", "HEAD"):
            connection = http.client.HTTPConnection(page.removeprefix("http://"), timeout=10)
            connection.request(method, path)
            with connection.getresponse() as reply:
                replies[method] = reply.status, reply.getheader("Content-Type"), reply.getheader("Content-Length")
                body = reply.read()
            assert bool(body) == (method == "GET")
            connection.close()
        assert replies["GET"][:2] == replies["HEAD"][:2]
        assert replies["HEAD"][0] == status
        assert int(replies["HEAD"][2] or 0) > 0


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_refused(page: str, method: str) -> None:
    request = urllib.request.Request(page + "/metrics", method=method, data=b"x" if method == "POST" else None)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as reply:
        assert reply.status == 405
        assert reply.headers["Allow"] == "GET, HEAD"


def address(page: str) -> tuple[str, int]:
    host, port = page.removeprefix("http://").split(":")
    return host, int(port)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def threads() -> int:
    return sum(thread.name == "dueq-web" for thread in threading.enumerate()) - 1  # but for the one that accepts


def test_a_thousand_idle_connections_are_not_kept_and_nobody_waits_for_them(page: str) -> None:
    before = descriptors()
    ours = [socket.create_connection(address(page), 10) for _ in range(300)]
    assert ask(page + "/livez")[0] == 200
    wait_until(lambda: threads() <= MOST_CONNECTIONS, timeout=30, what="the oldest have been hung up on")
    wait_until(lambda: descriptors() - before <= len(ours) + MOST_CONNECTIONS + 5, 30)
    assert ours[0].recv(1) == b"", "the oldest went first"
    for each in ours:
        each.close()
    wait_until(lambda: threads() == 0, 30)


def test_who_does_not_ask_in_time_is_hung_up_on_however_busy_he_seems(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_S", 0.5)
    mute, dripping = (socket.create_connection(address(page), 10) for _ in "ab")
    began = time.monotonic()
    with suppress(ConnectionError):
        for char in itertools.cycle(b"GET /livez HTTP/1.0\r\nX: y\r\n"):
            dripping.send(bytes([char]))
            time.sleep(0.02)
            assert time.monotonic() - began < 60
    assert mute.recv(1) == b""
    wait_until(lambda: threads() == 0, 30)
    mute.close()
    dripping.close()


def test_who_does_not_take_the_reply_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REPLY_S", 1.0)
    server = Server("127.0.0.1", 0, lambda request: Reply(HTTPStatus.OK, [], b"x" * 50_000_000))
    server.start()
    taker = socket.create_connection(("127.0.0.1", server.port), 10)
    taker.send(b"GET / HTTP/1.0\r\n\r\n")
    wait_until(lambda: threads() == 1, 30)
    wait_until(lambda: threads() == 0, 30)
    server.stop()
    taker.close()


def test_too_many_that_have_asked_are_refused_at_once_and_served_later() -> None:
    go = threading.Event()

    def respond(request: Request) -> Reply:
        go.wait(60)
        return Reply(HTTPStatus.OK, [], b"served")

    server = Server("127.0.0.1", 0, respond)
    server.start()
    first = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(MOST_CONNECTIONS)]
    for each in first:
        each.send(b"GET / HTTP/1.0\r\n\r\n")
    wait_until(lambda: sum(each.requested for each in list(server._connections.values())) == MOST_CONNECTIONS, 30)
    with socket.create_connection(("127.0.0.1", server.port), 10) as late:
        assert b" 503 " in late.recv(1000)
    go.set()
    for each in first:
        with each, each.makefile("rb") as reply:
            assert reply.read().endswith(b"served")
    wait_until(lambda: not server._connections, 30)
    server.stop()


def test_no_file_left_for_a_connection_is_no_reason_to_spin_or_to_end() -> None:
    program = """
import os, resource, socket, sys, time, urllib.request
from http import HTTPStatus
from pathlib import Path
from dueq.core.telemetry.http_server import Reply, Server
server = Server("127.0.0.1", 0, lambda request: Reply(HTTPStatus.OK, [], b"served"))
server.start()
waiting = socket.create_connection(("127.0.0.1", server.port))
time.sleep(0.2)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, 4096))
opened = []
while True:
    try:
        opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        break
os.close(opened.pop())
late = socket.create_connection(("127.0.0.1", server.port))
before = time.process_time()
time.sleep(0.5)
late.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
assert late.recv(1000).startswith(b"HTTP/1.0 200"), "the idle one made way"
assert time.process_time() - before < 0.3
os.close(opened.pop())
server.stop()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_a_page_that_cannot_be_made_is_said_to_be_so_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: Request) -> Reply:
        raise LookupError("on purpose")

    server = Server("127.0.0.1", 0, broken)
    server.start()
    with pytest.raises(urllib.error.HTTPError, match="500") as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10)
    refused.value.close()
    server.stop()
