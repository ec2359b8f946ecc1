"""Real servers, also old ones, of every version that Python packages and the system provide, started for one test.

``make servers`` gets them (get_servers.py beside this file). Tests on a missing server are skipped with the reason.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote, urlsplit

import pytest
from redis.exceptions import RedisError

from dueq.core.client.connection import connect
from dueq.core.process.lifetime import stop_with_parent
from support.get_servers import PACKAGES, Missing, Server, fetched, installed
from support.short import short_directory
from support.waiting import wait_until

__all__ = ["Load", "Missing", "Server", "all_servers", "running", "server_parameters"]

T = TypeVar("T")

_START_S = 10.0
_STOP_S = 5.0
_LOG_LINES = 15
_TRUSTING = "ssl_cert_reqs=none&ssl_check_hostname=false"
_SETTINGS = """\
daemonize no
port 0
unixsocket "{socket}"
dir "{directory}"
logfile "{directory}/redis.log"
save ""
appendonly no
maxmemory-policy noeviction
"""


@functools.cache
def all_servers() -> tuple[Server | Missing, ...]:
    """Every version, here or missing, newest first (Valkey before Redis)."""
    return tuple(sorted((*installed(), *map(fetched, PACKAGES)), key=_age))


def _age(server: Server | Missing) -> tuple[bool, list[int]]:
    numbers = server.name.partition("-")[2].split(".")
    return not server.name.startswith("valkey"), [-int(number) for number in numbers if number]


def server_parameters() -> list[pytest.ParameterSet]:
    """All servers for ``pytest.mark.parametrize`` or ``pytest.fixture(params=…)``; the missing ones are skipped."""
    return [
        pytest.param(server, id=server.name, marks=_skip(server) if isinstance(server, Missing) else ())
        for server in all_servers()
    ]


@dataclass(frozen=True)
class Load:
    """How many of very many cases to try on the server with this number: all on number 0, and some on the others.

    ``part`` is the part of the suite (see parts.py); "" is the whole suite.
    """

    number: int
    part: str = ""

    @property
    def full(self) -> bool:
        return self.number == 0

    def of(self, cases: Sequence[T], every: int = 24) -> Sequence[T]:
        """All ``cases``, or every ``every``-th. Each server begins with another case, so together they try most."""
        if self.full:
            return cases
        return cases[self.number % every :: every] or cases[self.number % len(cases) :][:1]

    def deaths(self, commands: int, every: int = 24) -> Sequence[tuple[int, Literal["before", "after"]]]:
        """The deaths to try of an actor that sends ``commands`` commands: at which command, and before or after it.

        For Redis, a death just before a command is the same as one just after the command before it, so the short part
        tries only the deaths after.
        """
        moments: tuple[Literal["before", "after"], ...] = ("before", "after")
        all_of_them = [(k, when) for k in range(1, commands + 1) for when in moments]
        if not self.full or not self.part:
            return self.of(all_of_them, every)
        return [(k, when) for k, when in all_of_them if (k == 1 or when == "after") is (self.part == "short")]


def _skip(missing: Missing) -> pytest.MarkDecorator:
    return pytest.mark.skip(reason=f"no {missing.name}: {missing.reason}")


@contextmanager
def running(server: Server, directory: Path, *options: str) -> Iterator[str]:
    """Start ``server`` in ``directory``, yield its address once it answers, and end it.

    ``options`` are lines of redis.conf (``"appendonly yes"``). By default the server stores nothing on disk. If it
    does, the next start in the same directory finds the data. The server ends with the thread that started it, so that
    none is left if the tests are killed.
    """
    with short_directory() as private:
        path = private / "s"
        url = f"unix://{quote(str(path))}?db=0"
        process = _launch(server, directory, path, (*server.options, *options))
        try:
            wait_until(lambda: _answers(url) or process.poll() is not None, _START_S, what=f"{server.name} answers")
            if process.poll() is not None:
                raise AssertionError(f"{server.name} exited with status {process.returncode}:\n{_said(directory)}")
            yield url
        finally:
            _end(process)


@contextmanager
def running_tls(directory: Path, *options: str) -> Iterator[str]:
    """Like ``running``, for the system's Redis by TLS. Skips the test if there is no such Redis, or no openssl.

    Its certificate and key are ``cert.pem`` and ``key.pem`` in ``directory``.
    """
    server, port = _speaks_tls(directory), free_port()
    (directory / "server").mkdir()
    with running(server, directory / "server", *_tls(directory, port), *options):
        yield f"rediss://127.0.0.1:{port}/0?{_TRUSTING}"


@contextmanager
def running_sentinel_tls(directory: Path) -> Iterator[str]:
    """The same, found by a Sentinel that also speaks only TLS."""
    with running_tls(directory, "protected-mode no") as url:
        (directory / "sentinel").mkdir()
        server, port = _speaks_tls(directory), free_port()
        watched = urlsplit(url).port
        options = [
            *_tls(directory, port),
            "tls-replication yes",
            f"tls-ca-cert-file {directory / 'cert.pem'}",
            f"sentinel monitor shop 127.0.0.1 {watched} 1",
        ]
        configuration = directory / "sentinel" / "sentinel.conf"
        configuration.write_text("".join(f"{option}\n" for option in ("port 0", *options)))
        process = subprocess.Popen(
            [server.binary, configuration, "--sentinel"],
            stdout=subprocess.DEVNULL,
            cwd=directory / "sentinel",
            preexec_fn=stop_with_parent,
        )
        found = f"rediss+sentinel://127.0.0.1:{port}/shop?{_TRUSTING}"
        try:
            wait_until(lambda: _answers(found), _START_S, what="the Sentinel knows the primary")
            yield found
        finally:
            _end(process)


def _speaks_tls(directory: Path) -> Server:
    """The system's Redis. Makes a certificate for it in ``directory``."""
    openssl = shutil.which("openssl")
    server = next((each for each in all_servers() if isinstance(each, Server) and each.name == "redis-7.0.15"), None)
    if openssl is None or server is None:
        pytest.skip("needs openssl, and the system's Redis, which speaks TLS")
    if not (directory / "cert.pem").exists():
        request = (
            f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out cert.pem -keyout key.pem"
        )
        subprocess.run(request.split(), check=True, capture_output=True, cwd=directory)
    return server


def _tls(directory: Path, port: int) -> list[str]:
    certificate = [f"tls-cert-file {directory / 'cert.pem'}", f"tls-key-file {directory / 'key.pem'}"]
    return [f"tls-port {port}", *certificate, "tls-auth-clients no"]


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _launch(server: Server, directory: Path, path: Path, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    settings = _SETTINGS.format(socket=path, directory=directory)
    configuration = directory / "redis.conf"
    configuration.write_text(settings + "".join(f"{option}\n" for option in options))
    with (directory / "output").open("wb") as output:
        return subprocess.Popen(
            [server.binary, configuration],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            # Redis 8.2 and Valkey 8.1 refuse to start in a locale that is not installed
            env=os.environ | {"LC_ALL": "C"},
            preexec_fn=stop_with_parent,
        )


def _answers(url: str) -> bool:
    client = connect(url, timeout=1)
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def _said(directory: Path) -> str:
    """The last lines of the server's output, which has errors of its settings, and of its log."""
    files = [directory / "output", directory / "redis.log"]
    lines = [line for file in files if file.exists() for line in file.read_text(errors="replace").splitlines()]
    return "\n".join(lines[-_LOG_LINES:])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.send_signal(signal.SIGCONT)  # a test may have stopped it
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:  # a script keeps it busy
        process.kill()
        process.wait()
