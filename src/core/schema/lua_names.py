"""Names that Python and the scripts share: ``State.X`` and ``bounds.X``; and older names of Lua functions.

The values replace the names in the text of a script before Redis gets it, so that a name costs nothing at run time.
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
"""Functions of records.lua: the names that strategies of third parties may still use, and the present names."""
_OLDER_NAME = re.compile(rf"\b(?:{'|'.join(_OLDER_NAMES)})\b")


@cache  # the same text for each namespace of a process
def written_out(text: str) -> str:
    """``text`` with values in place of names, and new function names for old. Raises KeyError for an unknown name."""
    text = _IN_STRING.sub(lambda found: _VALUES[found[1]], text)
    text = _ALONE.sub(lambda found: f"'{_VALUES[found[0]]}'" if found[1] == "State" else _VALUES[found[0]], text)
    return _OLDER_NAME.sub(lambda found: _OLDER_NAMES[found[0]], text)
