"""TLS with real servers: Sentinel, too, client certificates, and a port that does not speak TLS."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from support.engine import Engine
from support.servers import Server, all_servers, free_port, running, running_sentinel_tls, running_tls
from support.waiting import wait_until

from dueq import Dueq
from dueq.core.client.connection import connect
from dueq.core.client.failures import explained
from dueq.core.errors import ServerUnavailable
from dueq.core.namespace import Namespace

pytestmark = pytest.mark.long


def test_an_engine_finds_redis_by_sentinel_and_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_sentinel_tls(tmp_path) as url:
        assert connect(url).ping()
        engine = Engine(tmp_path, url=url)
        try:
            supervisor = engine.run("--workers", "1")
            app = Dueq(url)
            app.schedule_many([])
            wait_until(lambda: engine.ask(supervisor, "/readyz") == (200, []), 15, what="it is ready")
            assert engine.stop(supervisor) == 0
        finally:
            engine.close()


def test_a_missing_client_certificate_is_one_line(tmp_path: Path) -> None:
    with running_tls(tmp_path, "tls-auth-clients yes", f"tls-ca-cert-file {tmp_path / 'cert.pem'}") as url:
        for ask in (lambda: connect(url, timeout=5).ping(), lambda: Namespace.open(Dueq(url).settings)):
            with pytest.raises(ServerUnavailable, match="ssl_certfile=PATH") as caught, explained(url):
                ask()
            assert len(str(caught.value).splitlines()) == 1
        own = f"&ssl_certfile={tmp_path / 'cert.pem'}&ssl_keyfile={tmp_path / 'key.pem'}"
        assert connect(url + own).ping()


def test_tls_to_a_port_that_does_not_speak_it_fails_soon(tmp_path: Path) -> None:
    server, port = next(each for each in all_servers() if isinstance(each, Server)), free_port()
    with running(server, tmp_path, f"port {port}"):
        began = time.monotonic()
        url = f"rediss://127.0.0.1:{port}/0"
        with pytest.raises(ServerUnavailable, match=r"does not speak TLS.*redis://"), explained(url):
            connect(url).ping()
        assert time.monotonic() - began < 5  # it was 42 s


def test_a_port_that_says_nothing_is_not_waited_for_long() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        began = time.monotonic()
        url = f"rediss://127.0.0.1:{mute.getsockname()[1]}/0"
        with pytest.raises(ServerUnavailable, match="handshake"), explained(url):
            connect(url, timeout=1).ping()
        assert time.monotonic() - began < 10
