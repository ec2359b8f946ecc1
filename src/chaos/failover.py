"""A primary, a replica and a Sentinel on loopback, for a failover."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from redis.exceptions import RedisError

from ..core.client.embedded import EmbeddedServer, find_binary
from ..core.errors import EmbeddedServerError
from ..core.process.lifetime import stop_with_parent
from ..harness.sandbox import undisturbed

_SERVICE = "dueq"
_DOWN_MS = 500
_WITHIN_S = 30.0


class Cluster:
    """The three servers. ``url`` is an address that leads to the current primary. A context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = _free_ports(3)
        primary, replica, sentinel = self._ports
        self._primary = self._server("primary", primary)
        self._replica = self._server("replica", replica, replicaof=f"127.0.0.1 {primary}")
        self._sentinel: subprocess.Popen[bytes] | None = None
        self.url = f"redis+sentinel://127.0.0.1:{sentinel}/{_SERVICE}"

    def __enter__(self) -> Cluster:
        try:
            for server in (self._primary, self._replica):
                with undisturbed():  # a server that is still starting cannot be stopped
                    server.start()
            self._wait(lambda: self._info(self._ports[1])["master_link_status"] == "up", "the replica has caught up")
            with undisturbed():
                self._sentinel = self._start_sentinel()
            self._wait(lambda: self._sentinel_says()["num-slaves"] == 1, "the Sentinel knows the replica")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def hold_replica(self) -> None:
        """Freeze the replica, and cut its connection: it will never receive what is written from now on."""
        os.kill(self._pid(self._replica), signal.SIGSTOP)
        with self._client(self._ports[0]) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def free_replica(self) -> None:
        """Let the replica go on, if it is alive."""
        if (pid := self._replica.pid()) is not None:
            os.kill(pid, signal.SIGCONT)

    def kill_primary(self) -> None:
        """SIGKILL to the primary."""
        os.kill(self._pid(self._primary), signal.SIGKILL)

    def wait_promoted(self) -> float:
        """Return once the replica is the primary. Returns how many seconds that took."""
        return self._wait(lambda: self._info(self._ports[1])["role"] == "master", "the replica is promoted")

    def _server(self, name: str, port: int, **options: str) -> EmbeddedServer:
        network = {"port": str(port), "bind": "127.0.0.1", "repl-diskless-sync-delay": "0"}
        return EmbeddedServer(self._directory / name, options=network | options)

    def _start_sentinel(self) -> subprocess.Popen[bytes]:
        config = self._directory / "sentinel.conf"
        primary, _, port = self._ports
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._directory}\n"
            f"sentinel monitor {_SERVICE} 127.0.0.1 {primary} 1\n"
            f"sentinel down-after-milliseconds {_SERVICE} {_DOWN_MS}\n"
            f"sentinel failover-timeout {_SERVICE} 10000\n"
        )
        with (self._directory / "sentinel.log").open("wb") as log:
            return subprocess.Popen(
                [find_binary(), config, "--sentinel"], stdout=log, stderr=log, preexec_fn=stop_with_parent
            )

    def _sentinel_says(self) -> dict[str, object]:
        with self._client(self._ports[2]) as client:
            found: dict[str, object] = client.sentinel_master(_SERVICE)
            return found

    def _info(self, port: int) -> dict[str, object]:
        with self._client(port) as client:
            found: dict[str, object] = client.info("replication")
            return found

    @contextlib.contextmanager
    def _client(self, port: int) -> Iterator[Any]:
        client = redis.Redis(port=port, protocol=2, socket_timeout=2, decode_responses=True)
        try:
            yield client
        finally:
            client.close()

    def _wait(self, condition: Callable[[], object], what: str) -> float:
        began = time.monotonic()
        while True:
            with contextlib.suppress(RedisError, KeyError):
                if condition():
                    return time.monotonic() - began
            if time.monotonic() - began > _WITHIN_S:
                raise EmbeddedServerError(f"not within {_WITHIN_S:.0f} s: {what}; see the logs in {self._directory}")
            time.sleep(0.02)

    def _pid(self, server: EmbeddedServer) -> int:
        pid = server.pid()
        assert pid is not None
        return pid

    def _stop(self) -> None:
        """Stop all three servers. If one fails to stop, the others are stopped all the same."""
        with undisturbed(), contextlib.ExitStack() as ends:
            ends.callback(self._primary.stop)
            ends.callback(self._replica.stop)
            ends.callback(self.free_replica)  # a frozen server cannot stop
            if self._sentinel is not None:
                ends.callback(self._sentinel.wait)
                ends.callback(self._sentinel.kill)


def _free_ports(count: int) -> list[int]:
    """Free ports on loopback."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
