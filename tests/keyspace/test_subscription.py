"""The connection for events: it holds no event back, and notices when no events come, on every kind of connection."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError, ResponseError
from support.servers import running_tls
from support.world import World

from dueq.core.client.connection import connect
from dueq.core.client.keyspace_events import SETTING, Subscription
from dueq.core.process.stop import readable
from dueq.strategies.keyspace import events

from .conftest import IN_TIME_S, Make, next_lateness


def _all_read(subscription: Subscription, count: int) -> list[str]:
    """What has come once there are ``count``; select must tell of every one."""
    keys: list[str] = []
    deadline = time.monotonic() + 5
    while len(keys) < count and (left := deadline - time.monotonic()) > 0:
        if readable([subscription.fileno()], left):
            keys += subscription.read()
    return keys


def test_what_comes_at_once_is_read_whole_and_in_order(make: Make) -> None:
    world = make(f"{SETTING} KA")
    subscription = Subscription(world.main.client, "pre:", "expired")
    subscription.start()
    count = 3000
    pipe = world.redis.pipeline()
    for number in range(count):
        pipe.set(f"pre:{number}", "", px=1)
    pipe.execute()
    time.sleep(0.01)
    for number in range(count):
        pipe.exists(f"pre:{number}")
        pipe.exists("other")
    pipe.execute()
    keys = _all_read(subscription, count)
    assert sorted(keys, key=int) == [str(number) for number in range(count)]
    assert subscription.read() == []
    subscription.close()


def test_who_reads_is_told_of_the_end(make: Make) -> None:
    world = make()
    subscription = Subscription(world.main.client, "pre:", "expired")
    subscription.start()
    world.redis.client_kill_filter(_type="pubsub")
    assert readable([subscription.fileno()], 5)
    with pytest.raises(ConnectionError):
        subscription.read()
    subscription.close()
    subscription.start()
    assert subscription.open
    subscription.close()


def test_a_pool_that_is_closed_takes_it_along(make: Make) -> None:
    world = make()
    strategy = world.strategy
    assert strategy.wait(0.01) is None
    world.main.client.connection_pool.disconnect()
    world.schedule("a", delay_us=50_000)
    strategy.listener().close()
    assert next_lateness(world) < IN_TIME_S


def test_a_descriptor_ends_the_wait_for_an_event(make: Make) -> None:
    world = make()
    subscription = Subscription(world.main.client, "pre:", "expired")
    subscription.start()
    read, write = os.pipe()
    timer = threading.Timer(0.05, os.write, (write, b"x"))
    timer.start()
    began = time.monotonic()
    assert subscription.wait(10, read) == []
    assert time.monotonic() - began < 5
    timer.join()
    subscription.close()
    os.close(read)
    os.close(write)


def test_a_user_who_may_not_subscribe_gets_an_error_and_no_connection(make: Make) -> None:
    world = make("user default on nopass ~* resetchannels +@all")
    subscription = Subscription(world.main.client, "pre:", "expired")
    with pytest.raises(ResponseError, match=r"NOPERM.*channel"):
        subscription.start()
    assert not subscription.open
    world.schedule("a", delay_us=50_000)
    assert next_lateness(world) < IN_TIME_S, "a dispatcher goes on without"


class Relay:
    """Stands between dueq and a server, and can stop passing on what those who have subscribed get to hear."""

    def __init__(self, directory: Path, server: str) -> None:
        self.path = directory / "relay"
        self.deaf = threading.Event()
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # the end of the test
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self._server)
            self._sockets += [client, upstream]
            mute = threading.Event()
            threading.Thread(target=self._pump, args=(client, upstream, mute, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(upstream, client, mute, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, subscribed: threading.Event, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                if b"PSUBSCRIBE" in data and not self.deaf.is_set():
                    subscribed.set()
                if not (answers and subscribed.is_set() and self.deaf.is_set()):
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:  # either side has hung up
            return

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@pytest.fixture
def relay(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    world = make()
    url = world.settings.redis_url
    assert url is not None
    relay = Relay(tmp_path_factory.mktemp("r"), url.removeprefix("unix://").partition("?")[0])
    yield relay
    relay.close()


def test_a_connection_that_died_silently_is_replaced(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a firewall has forgotten it: nothing arrives, and no error either."""
    monkeypatch.setattr(events, "_CHECK_UP_S", 0.2)  # instead of the 30 s that a test cannot wait for
    world = World(f"unix://{relay.path}?db=0", "events", "keyspace")
    strategy = world.strategy
    assert strategy.dispatch(100).next_in is None
    assert strategy.wait(0.3) is None
    relay.deaf.set()  # from now on the old connection is dead, and new ones are in order
    assert strategy.wait(1.0) is None
    alarm = world.keys.of("alarm", "q:a")
    direct = world.main.client
    direct.set(alarm, "", px=1)
    time.sleep(0.005)
    direct.exists(alarm)
    assert strategy.wait(2.0) == "event"
    world.close()


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """The address of a server that speaks TLS, and wants a password."""
    with running_tls(tmp_path, f"{SETTING} Kx") as url:
        client = connect(url)
        client.config_set("requirepass", "secret")
        client.close()
        yield url.replace("//", "//:secret@")


def test_tls_keeps_nothing_back(tls_url: str) -> None:
    """A record is decrypted as a whole: what is left of it no select tells of."""
    client = connect(tls_url)
    subscription = Subscription(client, "pre:", "expired")
    subscription.start()
    count = 2000
    pipe = client.pipeline()
    for number in range(count):
        pipe.set(f"pre:{number}", "", px=1)
    pipe.execute()
    time.sleep(0.01)
    for number in range(count):
        pipe.exists(f"pre:{number}")
    pipe.execute()
    assert len(_all_read(subscription, count)) == count
    subscription.close()
    client.close()
    world = World(tls_url, "events", "keyspace")
    world.schedule("a", delay_us=100_000)
    assert next_lateness(world) < IN_TIME_S
    world.close()
