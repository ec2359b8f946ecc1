"""Waiting on a connection that died unnoticed."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from dueq.core.client import listener
from dueq.core.client.connection import connect


def test_a_request_that_is_overdue_is_made_again_on_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "BLOCKING_S", 1)
    monkeypatch.setattr(listener, "OVERDUE_S", 0.2)
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(Path(directory, "s")))
        silent.listen()
        silent.settimeout(5)
        one = listener.Listener(connect(f"unix://{directory}/s"), ["wakeup"])
        assert not one.wait(0.05)
        first, _ = silent.accept()
        assert not one.wait(1.3)
        assert not one.wait(0.05)
        second, _ = silent.accept()
        assert b"BLPOP" in second.recv(100)
        one.close()
        first.close()
        second.close()
