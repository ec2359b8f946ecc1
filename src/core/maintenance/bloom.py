"""A Bloom filter: remembers any number of texts in memory that does not grow, at the price of rare mistakes."""

from __future__ import annotations

import os
from collections.abc import Iterable

_BITS = 26


class BloomFilter:
    """Texts that were seen: all of them, and, by mistake, a few others.

    It takes 8 MiB. Of texts that were not seen, about one in 1,000 counts as seen after 1,000,000 others, one in 15
    after 10,000,000. Each filter makes other mistakes.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << (_BITS - 3))
        # part of the text that is hashed: two hashes combined would err on the same texts in every filter
        self._salt = os.urandom(8).hex()

    def add(self, prefix: str, texts: Iterable[str]) -> None:
        """Remember ``prefix`` with each of ``texts``."""
        bits, salt, mask = self._bits, self._salt, (1 << _BITS) - 1
        for text in texts:
            code = hash(salt + prefix + text)
            first, second = code & mask, (code >> _BITS) & mask
            bits[first >> 3] |= 1 << (first & 7)
            bits[second >> 3] |= 1 << (second & 7)

    def __contains__(self, text: str) -> bool:
        code, mask = hash(self._salt + text), (1 << _BITS) - 1
        first, second = code & mask, (code >> _BITS) & mask
        return bool(self._bits[first >> 3] >> (first & 7) & 1 and self._bits[second >> 3] >> (second & 7) & 1)
