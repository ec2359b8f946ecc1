"""Producers that fork while another of their threads is connecting."""

from __future__ import annotations

import os

from dueq import Dueq
from dueq.core.client.counting import COMMANDS


def test_a_forked_child_does_not_inherit_held_locks() -> None:
    app = Dueq("redis://127.0.0.1:1")
    with app._lock, COMMANDS._lock:  # as if another thread held them
        child = os.fork()
        if child == 0:
            free = app._lock.acquire(timeout=2) and COMMANDS._lock.acquire(timeout=2)
            os._exit(0 if free else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
