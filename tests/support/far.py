"""A server on a network of its own, joined to this host by a real link, whose packets can be made to vanish.

It needs the right to make network namespaces. Where that is lacking, tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from dueq.core.client.connection import connect
from dueq.core.process.lifetime import stop_with_parent
from support.servers import Server
from support.waiting import wait_until


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Far:
    """The server at ``url``; ``here`` is this host's address on the link."""

    def __init__(self, namespace: str, url: str, here: str) -> None:
        self._namespace, self.url, self.here = namespace, url, here

    def lose_packets_of(self, port: int) -> None:
        """From now on nothing arrives that is sent from this port to the server, or back, and nobody is told so."""
        for end in ("sport", "dport"):
            _ip("-n", self._namespace, "rule", "add", "pref", "10", "ipproto", "tcp", end, str(port), "blackhole")


@contextmanager
def far(server: Server, directory: Path) -> Iterator[Far]:
    """Start ``server`` over a link of its own, and end both."""
    number = os.getpid() % 16_000
    name, device = f"dueq{number}", f"dq{number}"
    here, there = (f"10.213.{number // 64}.{number % 64 * 4 + n}" for n in (1, 2))
    try:
        _ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    try:
        _ip("link", "add", device, "type", "veth", "peer", "name", "far", "netns", name)
        _ip("addr", "add", f"{here}/30", "dev", device)
        _ip("link", "set", device, "up")
        _ip("-n", name, "addr", "add", f"{there}/30", "dev", "far")
        _ip("-n", name, "link", "set", "far", "up")
        _ip("-n", name, "rule", "add", "pref", "1000", "lookup", "local")  # else it comes before all other rules
        _ip("-n", name, "rule", "del", "pref", "0")
        options = ["--bind", there, "--protected-mode", "no", "--save", "", "--dir", str(directory)]
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, server.binary, *options],
            stdout=subprocess.DEVNULL,
            preexec_fn=stop_with_parent,
        )
        try:
            url = f"redis://{there}:6379/0"
            wait_until(lambda: _answers(url), 10, what="the far server answers")
            yield Far(name, url, here)
        finally:
            process.kill()
            process.wait()
    finally:
        _ip("netns", "del", name)
        with suppress(subprocess.CalledProcessError):  # it went with the namespace
            _ip("link", "del", device)


def _answers(url: str) -> bool:
    client = connect(url, timeout=1.0)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.connection_pool.disconnect()
