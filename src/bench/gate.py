"""Workers held at a gate: each has then run a task, and is busy until the gate opens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import BootFailure
from .place import Place
from .tasks import gate

_PATIENCE_S = 30.0
_POLL_S = 0.01


@contextmanager
def held(place: Place, workers: int) -> Iterator[None]:
    """Within the block each of ``workers`` is at the gate. Raises BootFailure if one does not get there."""
    doors = [place.directory / f"door{number}" for number in range(workers)]
    try:
        for door in doors:
            # one after the other: otherwise a worker that takes several tasks at once could take both gate tasks
            place.producer.schedule_many([gate.call_after(0)(str(door))])
            until(Path(f"{door}.in").exists, "had a worker at the gate")
        yield
    finally:
        for door in doors:
            door.touch()


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait until this has happened. Raises BootFailure after 30 s; ``what`` says what ``dueq run`` should have done."""
    deadline = time.monotonic() + _PATIENCE_S
    while not happened():
        if time.monotonic() >= deadline:
            raise BootFailure(f"dueq run has not {what} after {_PATIENCE_S:.0f} s")
        time.sleep(_POLL_S)
