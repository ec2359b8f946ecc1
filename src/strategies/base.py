"""The interface of a strategy, under the name by which third parties import it."""

from __future__ import annotations

from ..core.client.paging import zset_pages
from ..core.schema.keys import Keys
from ..core.store.strategy import (
    Census,
    Dispatched,
    Entry,
    Moved,
    Needs,
    ScriptedStrategy,
    Strategy,
    TransactionalStrategy,
    WakeReason,
)

__all__ = [
    "Census",
    "Dispatched",
    "Entry",
    "Keys",
    "Moved",
    "Needs",
    "ScriptedStrategy",
    "Strategy",
    "TransactionalStrategy",
    "WakeReason",
    "zset_pages",
]
