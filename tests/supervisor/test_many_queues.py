"""An application with more queues than a worker can name in one step."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.engine import Engine
from support.waiting import wait_until

from dueq.core.config import Settings
from dueq.core.namespace import Namespace
from dueq.core.store.crowds import keys_of_all
from dueq.core.store.values import NewTask

pytestmark = pytest.mark.processes

QUEUES = 300
APP = f"""
from dueq import Dueq

app = Dueq()


def job():
    pass


for number in range({QUEUES}):
    app.task(name=f"job{{number}}", queue=f"q{{number}}")(job)
"""


@pytest.mark.in_turn("strict")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("strict", [False, True])
def test_every_queue_is_served_and_wakes_a_sleeping_worker(engine: Engine, tmp_path: Path, strict: bool) -> None:
    (tmp_path / "crowded.py").write_text(APP)
    flags = ("--queues", ",".join(f"q{number}" for number in range(QUEUES))) if strict else ()
    supervisor = engine.run("--workers", "2", "--strategy", "lua", *flags, target="crowded:app", apps=tmp_path)
    namespace = Namespace.open(Settings(redis_url=engine.url))
    client, store = namespace.client, namespace.store
    [serves, bell] = keys_of_all(client, namespace.keys)
    assert client.zcard(serves) == QUEUES

    def left(*numbers: int) -> list[int]:
        return [number for number in numbers if store.record(f"t{number}") is not None]

    def schedule(*numbers: int) -> None:
        store.schedule([NewTask(f"t{n}", f"q{n}", 0, f'["job{n}",[]]'.encode(), relative=True) for n in numbers])

    everyone = range(QUEUES)
    schedule(*everyone)
    wait_until(lambda: not left(*everyone), 60, what="all have run")
    for number in (0, 150, QUEUES - 1):
        wait_until(lambda: client.exists(bell) == 0, 10, what="both are asleep")
        began = time.monotonic()
        schedule(number)
        wait_until(lambda number=number: not left(number), 10, what="it has run")  # type: ignore[misc]
        assert time.monotonic() - began < 5, "it was woken, and not found by a safety net of 30 s"
    assert engine.stop(supervisor) == 0
    namespace.close()
