"""Whether a connection ends with its link, so that a sleeping worker need not ask: never so over a proxy."""

from __future__ import annotations

import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from support.proxy import disguised
from support.servers import Server, all_servers, free_port, running, running_tls
from support.waiting import wait_until

from dueq.core.client.connection import connect
from dueq.core.client.direct import ends_with_link
from dueq.core.client.wire import Wire
from dueq.core.process.lifetime import stop_with_parent

SERVERS = [each for each in all_servers() if isinstance(each, Server)]


def found(url: str) -> tuple[bool, dict[int, int]]:
    """Whether a new connection ends with its link, and the options of its TCP socket."""
    client = connect(url)
    with closing(Wire(client)) as wire:
        wire.send("PING")
        wire.receive()
        ends = ends_with_link(wire)
        own = wire.socket
        wanted = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
        tcp = own.family != socket.AF_UNIX
        options = {option: own.getsockopt(socket.IPPROTO_TCP, option) for option in wanted if tcp}
        wire.send("PING")
        assert wire.receive() == b"PONG"
    client.connection_pool.disconnect()
    return ends, options


def tells(server: Server) -> bool:
    """Whether the server says from where a connection comes."""
    return server.name.startswith("valkey") or int(server.name.split("-")[1].split(".")[0]) >= 6


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
@pytest.mark.parametrize("length", [30, 60, 75, 100])
def test_a_unix_socket(server: Server, length: int, tmp_path: Path) -> None:
    """Servers cut off long paths."""
    with running(server, tmp_path) as near:
        assert found(near)[0] == tells(server)
    path = f"/tmp/dueq-{secrets.token_hex(length)}"[:length]  # other processes have servers of this length, too
    process = subprocess.Popen(
        [server.binary, "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        preexec_fn=stop_with_parent,
    )
    try:
        wait_until(lambda: _accepts(path), 10)
        assert found(f"unix://{quote(path)}")[0] == tells(server)
    finally:
        process.kill()
        process.wait()
        Path(path).unlink()


def _accepts(path: str) -> bool:
    """Whether a server listens there: the file is there sooner."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


@pytest.fixture(params=["127.0.0.1", "::1"])
def tcp(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address and port of a server over TCP."""
    server, port = next(filter(tells, SERVERS)), free_port()
    host = request.param
    with running(server, tmp_path, f"port {port}", f"bind {host}"):
        yield host, port


def test_tcp(tcp: tuple[str, int]) -> None:
    host, port = tcp
    ends, options = found(f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}")
    assert ends
    idle, interval, count, unconfirmed = options.values()
    assert idle + interval * count <= 30
    assert unconfirmed <= 30_000


def test_tls(tmp_path: Path) -> None:
    with running_tls(tmp_path) as url:
        assert found(url)[0]


def test_a_proxy_on_a_unix_socket(tmp_path: Path) -> None:
    server = next(filter(tells, SERVERS))
    with running(server, tmp_path) as url, disguised(url, tmp_path, "9.9", "9.9") as through:
        assert not found(through)[0]


def test_a_proxy_over_tcp(tcp: tuple[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client, socket.create_connection(tcp) as upstream:
                threading.Thread(target=_pass_on, args=(client, upstream), daemon=True).start()
                _pass_on(upstream, client)

        threading.Thread(target=serve, daemon=True).start()
        assert not found(f"redis://127.0.0.1:{listener.getsockname()[1]}")[0]


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other side closed
        return
