"""A frozen server: clients can connect, and it does not reply."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dueq.core.client.connection import connect


@contextmanager
def frozen(url: str) -> Iterator[None]:
    """Inside, the process of the server at ``url`` is stopped (SIGSTOP)."""
    info: Any = connect(url).info()
    os.kill(info["process_id"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(info["process_id"], signal.SIGCONT)
