"""The type of each key of a namespace, by its name in keys.py, and which keys a step may drop and begin anew.

A test compares the scripts' ``refused_by`` (schema/records.lua) with this table.
"""

from __future__ import annotations

from typing import NamedTuple


class Holds(NamedTuple):
    """The type of a key.

    A key that is only kept ``beside`` the tasks must not stop a step: a step that finds it with another type drops it
    and begins it anew. In a hash that ``counts``, a step that adds to a field which is not a number drops that field.
    """

    type: str
    beside: bool = False
    counts: bool = False


PLAIN = {
    "meta": Holds("hash"),
    "queues": Holds("set"),
    "token": Holds("string", beside=True),
    "stats": Holds("hash", beside=True, counts=True),
    "workers": Holds("zset"),
    "revoked": Holds("hash", counts=True),
    "quarantined": Holds("hash"),
    "again": Holds("hash"),
    "reasons": Holds("hash", beside=True),
    "wake": Holds("list", beside=True),
    "guard": Holds("string", beside=True),
    "leased": Holds("zset"),
    "busy": Holds("zset", beside=True),
    "chosen": Holds("zset"),
    "tmps": Holds("zset"),
    "audited": Holds("string"),
    "supervisors": Holds("zset"),
    "aside": Holds("zset"),
    "recovered": Holds("string"),
    "rehearsed": Holds("string", beside=True),
}
"""The keys of which a namespace has one, without ``probe``, which never exists."""

FAMILIES = {
    "record": Holds("hash"),
    "ready": Holds("list"),
    "wakeup": Holds("list", beside=True),
    "leased_before": Holds("zset"),
    "unclaimed": Holds("zset"),
    "quarantine": Holds("zset"),
    "dead": Holds("zset"),
    "seconds": Holds("zset"),
    "sizes": Holds("hash", counts=True),
    "bucket": Holds("list"),
    "alarm": Holds("string"),
    "wanted": Holds("zset"),
    "tmp": Holds("zset"),
    "serves": Holds("zset"),
    "held": Holds("list"),
    "supervisor": Holds("hash"),
    "journal": Holds("list", beside=True),
    "heads": Holds("zset"),
    "timer": Holds("zset"),
}
"""The keys of which there is one per queue, worker or the like, without ``foreign``, which may hold anything."""
