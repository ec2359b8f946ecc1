"""What each key of a namespace holds, and which of them never stop a step: one table, by the names in keys.py.

A test holds the scripts' ``refused_by`` (schema/records.lua) against it.
"""

from __future__ import annotations

from typing import NamedTuple


class Holds(NamedTuple):
    """The type of a key.

    What is only kept ``beside`` the tasks is dropped where it is of another type, and begun anew by the step that meets
    it. Of a hash that ``counts``, a field that is no number is dropped by the step that adds to it.
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
}
"""Of keys of which the namespace has one, but for ``probe``, which is never there."""

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
"""Of keys of which there is one per queue, worker or the like, but for ``foreign``, which may hold anything."""
