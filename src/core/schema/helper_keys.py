"""Repairs keys that are only kept beside the tasks: a key of a wrong type is dropped and begun anew, so that it never
stops a step half-way.

key_types.py says which keys these are. The scripts' own version is ``refused_by`` in schema/records.lua.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from redis.exceptions import ResponseError

from ..client.protocol import Command
from ..client.transactions import Repair
from .key_types import FAMILIES, PLAIN, Holds
from .keys import Keys

_SIGNS = ("wrong kind of value", "not an integer", "would overflow")


def is_of_type(error: Exception) -> bool:
    """Whether ``error`` says that a key is of a wrong type, or that a value is not a number."""
    text = str(error)
    return any(sign in text for sign in _SIGNS)


def repair(keys: Keys) -> Repair:
    """The repair that the transactions of a namespace use."""
    return partial(
        _begun_anew,
        _beginnings(keys, lambda holds: holds.beside),
        _beginnings(keys, lambda holds: holds.counts),
    )


def _beginnings(keys: Keys, wanted: Callable[[Holds], bool]) -> tuple[str, ...]:
    singles = (keys.plain(name) for name, holds in PLAIN.items() if wanted(holds))
    return (*singles, *(keys.of(family, "") for family, holds in FAMILIES.items() if wanted(holds)))


def _begun_anew(
    beside: tuple[str, ...], counted: tuple[str, ...], command: Command, error: ResponseError
) -> list[Command]:
    name, key, *rest = command
    if not isinstance(key, str) or not is_of_type(error):
        return []
    if name == "HINCRBY" and "wrong kind" not in str(error):
        return [("HDEL", key, rest[0]), command] if key.startswith(counted) else []
    return [("DEL", key), command] if key.startswith(beside) else []
