"""What is kept beside the tasks never stops a step half-way: refused for its type, it is dropped and begun anew.

The scripts' own version is ``refused_by`` in store/records.lua.
"""

from __future__ import annotations

from functools import partial

from redis.exceptions import ResponseError

from .bells import Command
from .keys import Keys
from .transactions import Repair

_SIGNS = ("wrong kind of value", "not an integer", "would overflow")
_ONE = ("stats", "wake", "busy", "guard", "reasons")
_FAMILIES = ("journal", "bell")


def is_of_type(error: Exception) -> bool:
    """Whether Redis says by ``error`` that a key is of another type than it should be, or no number."""
    text = str(error)
    return any(sign in text for sign in _SIGNS)


def repair(keys: Keys) -> Repair:
    """How the transactions of a namespace put this right."""
    beginnings = (*(keys.plain(name) for name in _ONE), *(keys.of(family, "") for family in _FAMILIES))
    return partial(_begun_anew, beginnings)


def _begun_anew(beginnings: tuple[str, ...], command: Command, error: ResponseError) -> list[Command]:
    name, key, *rest = command
    if not (isinstance(key, str) and key.startswith(beginnings) and is_of_type(error)):
        return []
    if name == "HINCRBY" and "wrong kind" not in str(error):
        return [("HDEL", key, rest[0]), command]  # it is one field
    return [("DEL", key), command]
