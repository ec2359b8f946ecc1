"""The results of tasks that were scheduled before an error ended the call: the store attaches them to the error, and
the app reads them there.

The error may be redis-py's, which has no field for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def note(error: BaseException, scheduled: Sequence[Any], *, doubtful: bool = False) -> None:
    """Attach ``scheduled``, the results of the first tasks. ``doubtful``: more tasks may be scheduled, whatever the
    error says."""
    vars(error).update(scheduled=[*scheduled], doubtful=doubtful or is_doubtful(error))


def scheduled(error: BaseException) -> Sequence[Any]:
    """The results of the tasks that were scheduled before the error: the first ones."""
    found: Sequence[Any] = vars(error).get("scheduled", ())
    return found


def is_doubtful(error: BaseException) -> bool:
    """Whether more tasks may be scheduled, although the error says that Redis refused."""
    return bool(vars(error).get("doubtful"))
