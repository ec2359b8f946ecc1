"""Foreign texts: what remains of them when they are shown or stored."""

from __future__ import annotations

import time

import pytest

from dueq.core.client.safe_text import bounded, harmless, harmless_lines, traceback_of
from dueq.core.worker.failing import reason_of

NASTY = [chr(code) for code in (*range(32), *range(127, 160), 0x2028, 0x2029, 0x202E, 0x200B, 0xD800, 0xE000)]


@pytest.mark.parametrize("char", NASTY)
def test_nothing_steers_the_terminal(char: str) -> None:
    for shown in (harmless(f"a{char}b"), *harmless_lines(f"a{char}b").split("\n")):
        assert shown.isprintable()
        shown.encode()


def test_what_people_write_stays() -> None:
    assert harmless("Zoë 日本 ✓ \\n") == "Zoë 日本 ✓ \\n"


def test_no_line_looks_like_one_of_ours() -> None:
    first, *rest = harmless_lines("dueq: no\ndueq: all is well\n  indented").split("\n")
    assert first == "dueq: no"
    assert rest == ["  dueq: all is well", "  indented"]


def test_short_texts_stay() -> None:
    assert bounded("x" * 100, 100) == "x" * 100


def test_what_is_cut_is_told() -> None:
    assert bounded("x" * 50_000_000, 100) == "x" * 100 + "... (49,999,900 more characters)"


@pytest.mark.parametrize("before", [*range(0, 2200, 37), *range(1060, 1120)])
@pytest.mark.parametrize("others", [0, 30])
def test_an_address_that_is_cut_shows_no_password(before: int, others: int) -> None:
    text = "redis://u:s3cret@h " * others + "x" * before + " redis://u:" + "s3cret" * 20 + "@host " + "y" * 9000
    assert "s3" not in bounded(text, 1100)


def test_huge_exceptions_take_no_time() -> None:
    try:
        try:
            raise ValueError("a redis://me:s3cret@host/0 " + "x" * 50_000_000)
        except ValueError as first:
            raise KeyError("y" * 50_000_000) from first
    except KeyError as error:
        began = time.monotonic()
        shown = traceback_of((type(error), error, error.__traceback__))
    assert time.monotonic() - began < 5
    assert len(shown) < 20_000
    assert "s3cret" not in shown
    assert "KeyError: 'yyy" in shown, "the last of a chain is told, however long the first is"
    assert "ValueError: a redis://***@host/0 xxx" in shown
    assert "50,000,0" in shown or "49,99" in shown


def test_what_is_kept_of_an_exception_is_as_the_log_has_it() -> None:
    reason = reason_of(ValueError("redis://me:s3cret@host/0 " + "x" * 1_000_000))
    assert reason.startswith("ValueError: redis://***@host/0 xxx")
    assert len(reason) < 2100
    assert "more characters" in reason
