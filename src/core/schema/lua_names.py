"""What Python and every script call by one name: ``State.X`` and ``bounds.X``; and older names of functions.

Their values are written into the text of a script before Redis has it, so that a name costs nothing when it runs.
"""

from __future__ import annotations

import re
from functools import cache

from . import bounds
from .states import State

_VALUES = {
    **{f"State.{state.name}": state.value for state in State},
    "State.ANY": f"[{''.join(State)}]",  # for patterns
    **{f"bounds.{name}": str(value) for name, value in vars(bounds).items() if isinstance(value, int)},
}
_IN_STRING = re.compile(r"' \.\. (State\.[A-Z]+) \.\. '")
_ALONE = re.compile(r"\b(State|bounds)\.[A-Z_]+\b")

_OLDER_NAMES = {"ring_workers": "wake_workers", "ring_dispatcher": "wake_dispatcher"}
"""Functions of records.lua as strategies of third parties may call them still, and as they are called now."""
_OLDER_NAME = re.compile(rf"\b(?:{'|'.join(_OLDER_NAMES)})\b")


@cache  # the same text for each namespace of a process
def written_out(text: str) -> str:
    """``text`` with values for their names, and newer names for older ones. Raises KeyError for an unknown name."""
    text = _IN_STRING.sub(lambda found: _VALUES[found[1]], text)
    text = _ALONE.sub(lambda found: f"'{_VALUES[found[0]]}'" if found[1] == "State" else _VALUES[found[0]], text)
    return _OLDER_NAME.sub(lambda found: _OLDER_NAMES[found[0]], text)
