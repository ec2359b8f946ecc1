"""Fencing tokens: which one a claim gets, and the highest that this process has seen.

A token is above the last one that Redis gave, above every one that the caller has seen, and not below the clock's
microseconds. So no token is given twice, even if Redis has lost the last one (a power cut, a failover, FLUSHALL): time
has gone on since. Redis holds a token exactly, in a double, until the year 2255. The scripted side is advance.lua.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..schema.record import Record, number

END = 2**53
"""Tokens are below this: a double holds them exactly."""


class SeenTokens:
    """The highest token that this process has seen in Redis's replies. Any thread may use it."""

    def __init__(self) -> None:
        self.highest = 0

    def saw(self, claims: Iterable[Record]) -> None:
        """Note the tokens of ``claims``."""
        for claim in claims:
            if claim.token > self.highest:
                self.highest = claim.token


def first_token(last: bytes | None, now_us: int, highest: int) -> int:
    """The next token. ``last`` is the last token by Redis; None or damaged if Redis does not know it."""
    given = number(last)
    return max(given + 1 if 0 <= given < END - 1 else 0, now_us, highest + 1)


def has_lost(last: bytes | None, highest: int) -> bool:
    """Whether Redis has lost data: the last token that it knows is below one that it gave this process."""
    return number(last) < highest
