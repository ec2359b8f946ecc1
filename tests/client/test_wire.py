"""Commands that are sent at once and whose replies are read later."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError, ResponseError, TimeoutError
from support.servers import running_tls
from support.waiting import wait_until

from dueq.core.client.connection import connect
from dueq.core.client.counting import COMMANDS
from dueq.core.client.transactions import Transactions
from dueq.core.client.wire import Wire, Wires


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = connect(redis_url)
    yield client
    client.delete("wire")
    client.connection_pool.disconnect()


def test_answers_come_in_order_and_commands_are_done_before_they_are_read(client: redis.Redis) -> None:
    wire, before = Wire(client), COMMANDS.sent
    for number in range(50):
        wire.send("RPUSH", "wire", number, "text", b"bytes")
    assert wire.is_open
    assert COMMANDS.sent - before >= 50
    assert [wire.receive() for _ in range(50)] == [3 * (number + 1) for number in range(50)]
    assert client.lrange("wire", 0, 2) == [b"0", b"text", b"bytes"]
    wire.close()
    assert not wire.is_open


def test_an_error_is_an_answer_like_any_other(client: redis.Redis) -> None:
    wire = Wire(client)
    wire.send("SET", "wire", "text")
    wire.send("LPUSH", "wire", "more")
    wire.send("GET", "wire")
    assert wire.receive() == b"OK"
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        wire.receive()
    assert wire.receive() == b"text"
    wire.close()


def test_a_connection_that_somebody_closes_is_not_opened_anew_behind_its_back(client: redis.Redis) -> None:
    """Else the answers of the new one would be taken for those that the old one owes."""
    wire = Wire(client)
    wire.send("SET", "wire", "old")
    client.connection_pool.disconnect()
    with pytest.raises(ConnectionError):
        wire.send("GET", "wire")
    assert not wire.is_open
    wire.send("GET", "wire")
    assert wire.receive() == b"old"
    client.connection_pool.disconnect()
    with pytest.raises(ConnectionError):
        wire.receive()
    assert not wire.is_open


def test_closing_gives_the_connection_back(client: redis.Redis) -> None:
    wire = Wire(client)
    for _ in range(3):
        wire.send("GET", "wire")  # not answered: the next command must not get its answer
        wire.close()
    assert client.get("wire") is None


def test_who_is_not_let_in_is_told_so(client: redis.Redis) -> None:
    """redis-py counts this answer, and that of a server that is loading, among the errors of the connection."""
    wire = Wire(client)
    wire.send("AUTH", "nobody", "wrong")
    with pytest.raises(ConnectionError, match="invalid username"):
        wire.receive()
    assert not wire.is_open


def test_an_answer_that_does_not_come_is_redis_py_s_error(redis_url: str, client: redis.Redis) -> None:
    hasty = connect(redis_url, timeout=0.05)
    wire = Wire(hasty)
    wire.send("BLPOP", "wire", 5)
    with pytest.raises(TimeoutError):
        wire.receive()
    assert not wire.is_open
    hasty.connection_pool.disconnect()


def test_a_server_that_stands_still_takes_no_more_than_is_patient(redis_url: str, client: redis.Redis) -> None:
    """Sending waits for room, as receiving waits for an answer: neither for longer than the client's timeout."""
    hasty, server = connect(redis_url, timeout=0.2), int(client.info()["process_id"])
    wire, began = Wire(hasty), time.monotonic()
    wire.send("SET", "wire", 1)
    assert wire.receive() == b"OK"
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            wire.send("SET", "wire", b"x" * 50_000_000)
    finally:
        os.kill(server, signal.SIGCONT)
    assert 0.1 < time.monotonic() - began < 10
    assert not wire.is_open
    wire.send("GET", "wire")
    assert wire.receive() == b"1"
    wire.close()
    hasty.connection_pool.disconnect()


def test_signals_do_not_prolong_a_wait(redis_url: str, client: redis.Redis) -> None:
    hasty, server, heard = connect(redis_url, timeout=0.3), int(client.info()["process_id"]), list[int]()
    wire, began = Wire(hasty), time.monotonic()
    wire.send("GET", "wire")
    wire.receive()
    before = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    os.kill(server, signal.SIGSTOP)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        wire.send("GET", "wire")
        with pytest.raises(TimeoutError):
            wire.receive()
        with pytest.raises(TimeoutError):
            wire.send("SET", "wire", b"x" * 50_000_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.kill(server, signal.SIGCONT)
        signal.signal(signal.SIGALRM, before)
    assert len(heard) > 10
    assert time.monotonic() - began < 10
    hasty.connection_pool.disconnect()


def test_next_to_no_patience_is_not_patience_without_end(redis_url: str) -> None:
    hasty, began = connect(redis_url, timeout=1e-7), time.monotonic()
    wire = Wire(hasty)
    with suppress(TimeoutError, ConnectionError):
        wire.send("BLPOP", "wire", 2)
        wire.receive()
    assert time.monotonic() - began < 1
    hasty.connection_pool.disconnect()


def test_tls_connections_are_ready_and_patient(tmp_path: Path) -> None:
    """What a server sends on its own to end the handshake must not be taken for an answer, or for a fault."""
    with running_tls(tmp_path) as url:
        for number in range(40):
            hasty = connect(url, timeout=0.5)
            assert Wires(hasty).call("ECHO", str(number)) == str(number).encode()
            assert hasty.ping()
            hasty.close()
        wire = Wire(connect(url, timeout=0.05))
        wire.send("BLPOP", "wire", 5)
        with pytest.raises(TimeoutError):
            wire.receive()


def test_many_are_sent_as_they_are_made_and_answered_in_order(client: redis.Redis) -> None:
    wires, done = Wires(client), list[int]()

    def commands() -> Iterator[tuple[object, ...]]:
        for number in range(20):
            yield ("RPUSH", "wire", number) if number != 7 else ("INCR", "wire")
            if number == 10:  # though none was asked for its answer yet
                wait_until(lambda: client.llen("wire") == 10, what="the first have been done")
                done.append(number)

    answers = wires.call_many(commands())
    assert done == [10]
    assert isinstance(answers.pop(7), ResponseError)
    assert answers == list(range(1, 20))
    assert wires.call("LLEN", "wire") == 19
    assert len(wires._idle) == 1


def test_many_that_end_early_leave_no_answer_to_others(client: redis.Redis) -> None:
    wires = Wires(client)

    def commands() -> Iterator[tuple[object, ...]]:
        yield ("ECHO", "first")
        raise LookupError

    with pytest.raises(LookupError):
        wires.call_many(commands())
    assert wires.call("ECHO", "second") == b"second"


def connections(client: redis.Redis) -> int:
    return int(client.info("clients")["connected_clients"])


def test_one_wire_serves_all_questions_of_a_thread(client: redis.Redis) -> None:
    wires = Wires(client)
    wires.call("SET", "wire", 0)
    before = connections(client)
    for number in range(100):
        assert wires.call("INCR", "wire") == number + 1
        with pytest.raises(ResponseError):
            wires.call("LPUSH", "wire", "x")
    assert connections(client) == before


def test_threads_get_their_own_answers(client: redis.Redis) -> None:
    wires, wrong = Wires(client), list[object]()

    def ask(name: str) -> None:
        wrong.extend(answer for _ in range(500) if (answer := wires.call("ECHO", name)) != name.encode())

    threads = [threading.Thread(target=ask, args=(f"name{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(wires._idle) <= 8


def test_what_redis_closed_while_it_lay_idle_is_opened_anew(client: redis.Redis) -> None:
    wires = Wires(client)
    for _ in range(3):
        assert wires.call("ECHO", "here") == b"here"
        client.client_kill_filter(_type="normal", skipme=True)
    assert wires.call("ECHO", "here") == b"here"
    client.connection_pool.disconnect()
    assert wires.call("ECHO", "here") == b"here"


def test_who_is_interrupted_leaves_no_answer_to_others(client: redis.Redis) -> None:
    """Wherever between sending and hearing the signal comes."""

    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    wires, interrupted, before = Wires(client), 0, signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(400):
            with suppress(Interrupted):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 + number * 5e-7)
                    for _ in range(20):
                        wires.call("ECHO", "first")
                except Interrupted:
                    interrupted += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            for _ in range(2):
                assert wires.call("ECHO", f"second{number}") == f"second{number}".encode()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 100


def test_a_forked_child_does_not_speak_on_its_parent_s_wires(client: redis.Redis) -> None:
    wires = Wires(client)
    ours = wires.call("CLIENT", "ID")
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        with suppress(BaseException):
            gc.collect()
            os.write(writing, str(wires.call("CLIENT", "ID")).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reading, 20)) != ours
    os.close(reading)
    os.close(writing)
    assert wires.call("CLIENT", "ID") == ours


class Talker:
    """A server that answers whatever it is asked as the test says: bytes, or seconds between."""

    def __init__(self, *script: bytes | float) -> None:
        self._script, self._listener = script, socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self.ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self.ended.is_set():
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while asked := connection.recv(1 << 16):
                if b"wire" not in asked:  # of the handshake
                    connection.sendall(b"+OK\r\n" * asked.count(b"*"))
                    continue
                for each in self._script:
                    if isinstance(each, float):
                        self.ended.wait(each)
                    else:
                        connection.sendall(each)

    def close(self) -> None:
        self.ended.set()
        self._listener.close()


DRIPPING: list[bytes | float] = [each for byte in b"$40\r\n" + b"x" * 40 + b"\r\n" for each in (bytes([byte]), 0.1)]


def test_the_time_out_is_of_the_whole_answer() -> None:
    talker = Talker(*DRIPPING)
    client, began = connect(talker.url, timeout=0.5), time.monotonic()
    wires = Wires(client)
    with pytest.raises(TimeoutError):
        wires.call("GET", "wire")
    with pytest.raises(TimeoutError):
        wires.call_many([("GET", "wire")])
    transactions = Transactions(client)
    transactions._careful = False
    with pytest.raises(TimeoutError):
        transactions.once(lambda session: session.read([("GET", "wire")]))
    assert time.monotonic() - began >= 1.5
    assert not wires._idle
    patient = connect(talker.url, timeout=30)
    assert Wires(patient).call("GET", "wire") == b"x" * 40
    for each in (client, patient):
        each.connection_pool.disconnect()
    talker.close()


def test_the_time_out_is_of_the_whole_answer_over_tls_too(tmp_path: Path) -> None:
    """There it is the socket that waits: the next bit gets only what is left."""
    with running_tls(tmp_path) as url:
        wire = Wire(connect(url, timeout=0.5))
        wire.send("SET", "wire", b"x" * 3_000_000)
        assert wire.receive() == b"OK"
        taking, took = wire._take_in, list[float]()

        def drop_by_drop() -> None:
            taking()
            took.append(wire._socket.gettimeout())
            time.sleep(0.1)

        wire._take_in = drop_by_drop  # type: ignore[method-assign]
        wire.send("GET", "wire")
        with pytest.raises(TimeoutError):
            wire.receive()
        assert len(took) <= 10
        assert took == sorted(took, reverse=True)
        assert not wire.is_open


def test_more_answers_than_questions_close_the_connection() -> None:
    """Nobody knows which of them is the one; and the next question would be given the other."""
    talker = Talker(b"+stray\r\n+answer\r\n")
    client = connect(talker.url, timeout=5)
    wires, transactions = Wires(client), Transactions(client)
    transactions._careful = False
    asks: list[Callable[[], object]] = [
        lambda: wires.call("GET", "wire"),
        lambda: wires.call_many([("GET", "wire")]),
        lambda: transactions.once(lambda session: session.read([("GET", "wire")])),
    ]
    for ask in asks * 2:
        with pytest.raises(ConnectionError, match="more replies"):
            ask()
        assert not wires._idle
        assert not transactions._wires._idle
    client.connection_pool.disconnect()
    talker.close()


def test_an_answer_that_comes_when_nobody_asks_is_given_to_nobody() -> None:
    talker = Talker(b"+answer\r\n", 0.1, b"+stray\r\n")
    client = connect(talker.url, timeout=5)
    wires = Wires(client)
    for _ in range(3):
        assert wires.call("GET", "wire") == b"answer"
        [idle] = wires._idle
        wait_until(lambda idle=idle: not idle.is_fresh, 30, what="the stray has come")  # type: ignore[misc]
    client.connection_pool.disconnect()
    talker.close()


def test_however_many_are_made_and_dropped_they_take_no_connections_away(client: redis.Redis) -> None:
    for _ in range(150):
        assert Transactions(client).trip([("PING",)])
        assert Wires(client).call("PING")
    found: Any = client.client_list()
    assert len(found) < 10
