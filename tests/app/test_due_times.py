"""Due times outside the range of datetime are refused at the call, and can be shown if a record has one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from dueq import Dueq, Handle
from dueq.admin.format import timestamp
from dueq.core.app.context import Context
from dueq.core.clock import US, datetime_of, due_us
from dueq.core.errors import InvalidTask

FIRST_REFUSED = datetime(9999, 1, 1, tzinfo=UTC)
app = Dueq("redis://127.0.0.1:1/0")


@app.task
def f() -> None: ...


@pytest.mark.parametrize(
    "when",
    [
        FIRST_REFUSED,
        FIRST_REFUSED.timestamp(),
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=23))),
        253402300799.999999,
        2**63,
        10**400,
        1e308,
    ],
)
def test_too_late(when: Any) -> None:
    for ask in (f.at, f.call_at, lambda when: app.schedule_task(when, 1), lambda when: app.reschedule("a", at=when)):
        with pytest.raises(InvalidTask):
            ask(when)


@pytest.mark.parametrize("delay", [timedelta.max, 3e11, 1e308, 10**400])
def test_too_long(delay: Any) -> None:
    for ask in (f.after, f.call_after, lambda delay: app.reschedule("a", after=delay)):
        with pytest.raises(InvalidTask):
            ask(delay)


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=14)), timezone(-timedelta(hours=23)), UTC])
def test_the_last_that_is_taken_is_shown_in_every_zone(zone: timezone) -> None:
    last = FIRST_REFUSED - timedelta(microseconds=1)
    micros = due_us(last)
    rounded = int(float(micros))  # as Lua and scores have it
    assert datetime_of(rounded).astimezone(zone) - last < timedelta(milliseconds=1)


@pytest.mark.parametrize("micros", [253_402_300_799_999_999, 253_402_300_800 * US, 10**30])
def test_a_record_that_is_later_is_shown(micros: int) -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert timestamp(micros) == last.isoformat()
    assert Handle(app, "a", micros).due_at == last
    assert Context("a", "f", "q", "n", 1, 1, micros).due_at == last
