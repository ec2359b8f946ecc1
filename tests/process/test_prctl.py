"""Precise sleeps: the kernel's timer slack."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from dueq.core.process.prctl import wake_precisely


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has timer slack")
def test_the_slack_of_this_thread_is_gone_and_of_no_other() -> None:
    seen: list[str] = []

    def run() -> None:
        wake_precisely()
        seen.append(_slack(threading.get_native_id()))

    before = _slack(threading.get_native_id())
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == ["1"]
    assert _slack(threading.get_native_id()) == before


def _slack(thread: int) -> str:
    return Path(f"/proc/{thread}/timerslack_ns").read_text().strip()
