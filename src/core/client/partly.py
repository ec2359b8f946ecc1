"""What an error that ended the scheduling of many tasks knows of them: the store writes it down, the app reads it.

The error itself may be redis-py's, which has no room for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def note(error: BaseException, scheduled: Sequence[Any], *, doubtful: bool = False) -> None:
    """``scheduled`` are the results of the first tasks. ``doubtful``: others may be scheduled, whatever it says."""
    vars(error).update(scheduled=[*scheduled], doubtful=doubtful or is_doubtful(error))


def scheduled(error: BaseException) -> Sequence[Any]:
    """The results of those that were scheduled before: the first ones."""
    found: Sequence[Any] = vars(error).get("scheduled", ())
    return found


def is_doubtful(error: BaseException) -> bool:
    """Whether more than those may be scheduled, although the error says that Redis refused."""
    return bool(vars(error).get("doubtful"))
