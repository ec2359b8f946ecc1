"""What was scheduled before an error ended the scheduling of many tasks: the store notes it at the error, the app reads
it.

The error may be redis-py's, which has no field for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def note(error: BaseException, scheduled: Sequence[Any], *, doubtful: bool = False) -> None:
    """``scheduled`` are the results of the first tasks. ``doubtful``: more may be, whatever the error says."""
    vars(error).update(scheduled=[*scheduled], doubtful=doubtful or is_doubtful(error))


def scheduled(error: BaseException) -> Sequence[Any]:
    """The results of the tasks that were scheduled before the error: the first ones."""
    found: Sequence[Any] = vars(error).get("scheduled", ())
    return found


def is_doubtful(error: BaseException) -> bool:
    """Whether more may be scheduled, although the error says that Redis refused."""
    return bool(vars(error).get("doubtful"))
