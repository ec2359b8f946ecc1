"""What the service manager receives, over real datagram sockets as systemd has them."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dueq.core.supervisor.systemd import Notifier


class Manager:
    """The other end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(0)

    def heard(self) -> list[dict[str, str]]:
        """The messages so far, each as its assignments."""
        messages: list[dict[str, str]] = []
        while True:
            try:
                text = self._socket.recv(4096).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.split("\n")))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("only Linux has abstract sockets")
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@dueq-test-{os.getpid()}")
    yield manager
    manager.close()


def test_the_life_of_a_service(manager: Manager) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": manager.address})
    notifier.ready("4 workers")
    assert manager.heard() == [{"READY": "1", "STATUS": "4 workers", "MAINPID": str(os.getpid())}]
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    [message] = manager.heard()
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.stopping()
    notifier.stopping()
    assert manager.heard() == [{"STOPPING": "1"}], "said once"


def test_no_watchdog_was_asked_for(manager: Manager) -> None:
    Notifier.of({"NOTIFY_SOCKET": manager.address}).alive()
    assert manager.heard() == []


def test_the_watchdog_is_fed_in_time_and_not_all_the_time(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.of(environment)
    fed = []
    for _ in range(120):
        notifier.alive()
        if manager.heard():
            fed.append(now[0])
        now[0] += 1.0
    assert fed[0] == 1000
    assert {later - earlier for earlier, later in itertools.pairwise(fed)} == {10.0}, "three times in its time"


def test_the_watchdog_is_fed_while_stopping(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    notifier = Notifier.of({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"})
    notifier.stopping()
    now[0] += 1
    notifier.stopping()
    assert manager.heard() == [{"STOPPING": "1"}, {"WATCHDOG": "1"}, {"WATCHDOG": "1"}]


def test_a_watchdog_meant_for_another_process_is_left_alone(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid() + 1)}
    Notifier.of(environment).alive()
    assert manager.heard() == []


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such/socket", "WATCHDOG_USEC": "1"}, {"WATCHDOG_USEC": "never"}],
)
def test_nobody_there_is_no_error(environment: dict[str, str]) -> None:
    notifier = Notifier.of(environment)
    notifier.ready("")
    notifier.reloading()
    notifier.alive()
    notifier.stopping()


def test_no_descriptor_left_is_no_error(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(24, "Too many open files")

    notifier = Notifier.of({"NOTIFY_SOCKET": manager.address})
    monkeypatch.setattr(socket, "socket", full)
    notifier.ready("")


def test_a_manager_that_does_not_listen_does_not_hold_us_up(manager: Manager) -> None:
    """Its queue is full after some messages: sending one more waits, but not for ever."""
    notifier = Notifier.of({"NOTIFY_SOCKET": manager.address})
    limit = Path("/proc/sys/net/unix/max_dgram_qlen")
    most = int(limit.read_text()) if limit.exists() else 100
    out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    out.setblocking(False)
    out.connect("\0" + manager.address[1:] if manager.address.startswith("@") else manager.address)
    with out, contextlib.suppress(BlockingIOError):
        for _ in range(most + 10):
            out.send(b"X=1")
    began = time.monotonic()
    notifier.ready("")
    assert time.monotonic() - began < 5
