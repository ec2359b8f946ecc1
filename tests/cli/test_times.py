"""Due times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dueq.admin.format import duration
from dueq.cli.times import at_us, due, in_us
from dueq.core.client.safe_text import harmless
from dueq.core.errors import InvalidTask, NaiveDatetime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("1w", 604_800), ("1h30m", 5400), ("1h 30m", 5400),
     ("250ms", 0.25), ("1.5m", 90), ("42", 42), ("0.5", 0.5), ("0", 0), (30, 30)],
)  # fmt: skip
def test_delays(text: str | float, seconds: float) -> None:
    assert in_us(text) == seconds * 1_000_000


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "m", "1h-30m", "-5m", "-5", "nan", "1e400", "1h30"])
def test_what_is_no_delay(text: str) -> None:
    with pytest.raises(InvalidTask):
        in_us(text)


@pytest.mark.parametrize(
    "text", ["2030-01-31T09:00Z", "2030-01-31T10:00+01:00", "2030-01-31 09:00:00+00:00", "1896080400", 1896080400]
)
def test_instants(text: str | float) -> None:
    assert at_us(text) == datetime(2030, 1, 31, 9, tzinfo=UTC).timestamp() * 1_000_000


@pytest.mark.parametrize("text", ["2030-01-31T09:00", "2030-01-31"])
def test_an_instant_needs_a_zone(text: str) -> None:
    with pytest.raises(NaiveDatetime, match="time zone"):
        at_us(text)


@pytest.mark.parametrize("text", ["", "tomorrow", "nan", "inf", "1896080400000"])
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(InvalidTask):
        at_us(text)


def test_exactly_one_of_the_two() -> None:
    assert due("100", None) == (100_000_000, False)
    assert due(None, "100") == (100_000_000, True)
    with pytest.raises(InvalidTask, match="not both"):
        due("100", "100")
    with pytest.raises(InvalidTask, match="needed"):
        due(None, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25 s"), (42, "42 s"), (60, "1 m"), (200, "3 m 20 s"), (7500, "2 h 5 m"), (349_200, "4 d 1 h")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_terminal_is_not_steered() -> None:
    assert harmless("a\x1b[2Jb\x9bc — ü") == "a\\x1b[2Jb\\x9bc — ü"
