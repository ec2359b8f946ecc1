"""Reads and empties hashes of records in bounded steps: a hash may have a thousand of them, and each may be long.

Their lengths are not known beforehand. So a few records of each hash, picked at random, are read first, and their
lengths say how many of the rest one step may read.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from ..client.protocol import LENIENT, Command
from ..client.transactions import Transactions
from ..schema.bounds import MOST_BYTES

_FIRST = 4
_MOST = 32  # the few that are read first may all be short
_ERASED = 50
_TRIP = 100  # commands in one round trip


def read(transactions: Transactions, keys: Sequence[str]) -> dict[str, bytes]:
    """The records in these hashes, by their ids."""
    found: dict[str, bytes] = {}
    names = dict(zip(keys, transactions.trip([("HKEYS", key) for key in keys]), strict=True))
    # at random: the order of a hash may put the short ones first
    picked = {key: random.sample(ids, min(_FIRST, len(ids))) for key, ids in names.items() if ids}
    longest = _read(transactions, [*picked.items()], found)
    rest = {key: [name for name in names[key] if name not in some] for key, some in picked.items()}
    _read(transactions, [(key, some) for key, ids in rest.items() for some in _pieces(ids, longest[key])], found)
    return found


def erase(transactions: Transactions, keys: Sequence[str]) -> int:
    """Empty these hashes; returns how many records there were."""
    names = dict(zip(keys, transactions.trip([("HKEYS", key) for key in keys]), strict=True))
    commands: list[Command] = [
        ("HDEL", key, *ids[at : at + _ERASED]) for key, ids in names.items() for at in range(0, len(ids), _ERASED)
    ]
    return sum(int(erased) for trip in _trips(commands) for erased in transactions.trip(trip))


def _pieces(ids: Sequence[bytes], bytes_each: int) -> Iterator[Sequence[bytes]]:
    size = max(1, min(_MOST, MOST_BYTES // max(1, bytes_each)))
    return (ids[at : at + size] for at in range(0, len(ids), size))


def _read(
    transactions: Transactions, pieces: Sequence[tuple[str, Sequence[bytes]]], found: dict[str, bytes]
) -> Mapping[str, int]:
    """Add the records of these ids to those ``found``; returns how long the longest in each hash is."""
    longest: dict[str, int] = {}
    commands: list[Command] = [("HMGET", key, *ids) for key, ids in pieces]
    replies = [raws for trip in _trips(commands) for raws in transactions.trip(trip)]
    for (key, ids), raws in zip(pieces, replies, strict=True):
        for task_id, raw in zip(ids, raws, strict=True):
            if raw is not None:
                found[task_id.decode(errors=LENIENT)] = raw
        longest[key] = max(longest.get(key, 0), *(len(raw or b"") for raw in raws))
    return longest


def _trips(commands: Sequence[Command]) -> Iterator[Sequence[Command]]:
    return (commands[at : at + _TRIP] for at in range(0, len(commands), _TRIP))
