"""docs/failures.md: its examples run, and the tasks in them end as it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.world import World

from dueq import Dueq
from dueq.core.schema.record import Record, decode_record
from dueq.core.schema.states import State
from dueq.core.worker.failing import outcome_of

PAGE = (Path(__file__).parents[2] / "docs" / "failures.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
CLAIM = Record("t1", State.LEASED, 0, "default", 1, 0, 0, "", 0, 7, "w1", b"")


@pytest.mark.parametrize(
    ("task", "argument", "kind", "seconds"),
    [
        ("charge", 1, "dead", (0, 0)),
        ("charge", 2, "retry", (1, 2)),
        ("deliver", "late", "snooze", (3600, 3600)),
        ("deliver", "busy", "retry", (60, 60)),
        ("deliver", "void", "dead", (0, 0)),
    ],
)
def test_the_examples_end_as_the_page_says(task: str, argument: object, kind: str, seconds: tuple[int, int]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in BLOCKS[:2]:
        exec(compile(block, "docs/failures.md", "exec"), names)
    with pytest.raises(Exception) as raised:  # noqa: PT011
        names[task].function(argument)
    outcome = outcome_of(CLAIM, task, names[task], raised.value)
    assert outcome.kind == kind
    assert seconds[0] <= outcome.delay_us / 1_000_000 <= seconds[1]


@pytest.mark.parametrize("strategy_name", ["lua"])
def test_what_comes_too_late_is_scheduled_as_the_page_says(world: World) -> None:
    app = Dueq(world.settings.redis_url, namespace=world.settings.namespace, strategy=world.settings.strategy)
    names = {"__name__": "page", "datetime": datetime, "timedelta": timedelta, "UTC": UTC, "app": app}
    exec(compile(BLOCKS[2], "docs/failures.md", "exec"), names)
    found = world.store.shards(list(world.keys.records()))
    world.note(*found)
    records = [decode_record(task_id, raw) for task_id, raw in found.items()]
    assert sorted((record.expires_us - record.due_us) // 1_000_000 for record in records) == [60, 300, 3600]
    for task_id in found:
        assert world.store.cancel(task_id)
