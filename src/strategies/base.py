"""The interface of a strategy, under the module name that third parties import."""

from __future__ import annotations

from ..core.client.listener import Listener
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

Doorbell = Listener
"""The older name of ``Listener``."""

__all__ = [
    "Census",
    "Dispatched",
    "Doorbell",
    "Entry",
    "Keys",
    "Listener",
    "Moved",
    "Needs",
    "ScriptedStrategy",
    "Strategy",
    "TransactionalStrategy",
    "WakeReason",
    "zset_pages",
]
