"""Reading a long list or zset page by page, with commands of Redis 2.4, while others change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import redis

from .protocol import LENIENT

PAGE = 1000
"""Entries read by one command."""

_OVERLAP = 100


def list_pages(client: redis.Redis, key: str) -> Iterator[list[str]]:
    """The entries of a list that is pushed on the left and taken from on the right; one round trip a page.

    Reads from the left, so that pushes move unread entries towards later pages: an entry that stays in the list is on
    one page at least. Pages overlap by as many entries as might be taken out of the middle meanwhile.
    """
    return _pages(lambda first, last: client.lrange(key, first, last))


def zset_pages(client: redis.Redis, key: str | bytes) -> Iterator[list[str]]:
    """The members of a zset, the highest score first; one round trip a page.

    Most of what leaves a zset of times leaves it at the low end, so ranks from the high end stay what they are. Pages
    overlap for the rest: a member that stays where it is, is on one page at least.
    """
    return _pages(lambda first, last: client.zrevrange(key, first, last))


def _pages(read: Callable[[int, int], Any]) -> Iterator[list[str]]:
    at = 0
    while True:
        page = [raw.decode(errors=LENIENT) for raw in read(at, at + PAGE - 1)]
        yield page  # also if it is empty: the caller does one round trip a step
        if len(page) < PAGE:
            return
        at += PAGE - _OVERLAP
