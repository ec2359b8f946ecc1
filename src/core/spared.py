"""What is kept beside the tasks never stops a step half-way: refused for its type, it is dropped and begun anew.

The scripts' own version is ``refused_by`` in store/records.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from redis.exceptions import ResponseError

from .keys import Keys
from .protocol import Command
from .transactions import Repair

_SIGNS = ("wrong kind of value", "not an integer", "would overflow")
_ONE = ("stats", "wake", "busy", "guard", "reasons", "token")
_FAMILIES = ("journal", "bell")
_COUNTED = ("revoked",), ("sizes",)  # hashes of which only a field that is no number is dropped


def is_of_type(error: Exception) -> bool:
    """Whether Redis says by ``error`` that a key is of another type than it should be, or no number."""
    text = str(error)
    return any(sign in text for sign in _SIGNS)


def repair(keys: Keys) -> Repair:
    """How the transactions of a namespace put this right."""
    return partial(_begun_anew, _beginnings(keys, _ONE, _FAMILIES), _beginnings(keys, *_COUNTED))


def _beginnings(keys: Keys, singles: Sequence[str], families: Sequence[str]) -> tuple[str, ...]:
    return (*(keys.plain(name) for name in singles), *(keys.of(family, "") for family in families))


def _begun_anew(
    beginnings: tuple[str, ...], counted: tuple[str, ...], command: Command, error: ResponseError
) -> list[Command]:
    name, key, *rest = command
    if not isinstance(key, str) or not is_of_type(error):
        return []
    if name == "HINCRBY" and "wrong kind" not in str(error):
        return [("HDEL", key, rest[0]), command] if key.startswith((*beginnings, *counted)) else []
    return [("DEL", key), command] if key.startswith(beginnings) else []
