"""Puts text into a page of the docs, between two markers."""

from __future__ import annotations


def put(page: str, text: str, begin: str, end: str) -> str:
    """``page`` with ``text`` between its markers. Raises ValueError if it has none."""
    head, found_begin, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page has no line {begin} … {end}")
    return f"{head}{begin}\n\n{text}\n\n{end}{tail}"
